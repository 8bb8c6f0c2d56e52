"""The families that transformers serves: which class loads each, and how its authors use it."""

from typing import NamedTuple

from clipflow.encoders.info import Score


class Family(NamedTuple):
    """What a `model_type` stands for.

    Attributes:
        architecture: The class that loads it.
        score: How its authors turn a cosine into a probability.
        width: The tensor whose size tells the length of a vector, and on which axis.
        processor: The image processor that its checkpoints come with, where theirs names none.
        padding: Of texts, as the model was trained; None where there are no texts.
        mask: Whether the text side is told which tokens are padding.
        longest: Tokens of a text, where the configuration does not say.
        cut: Tokens that its authors keep of a text, where that is less than the model could take.
        one_size: Whether pictures must be of the size that the configuration names.
    """

    architecture: str
    score: Score
    width: tuple[str, int]
    processor: str
    padding: str | None = None
    mask: bool = True
    longest: int = 77
    cut: int | None = None
    one_size: bool = True

    @property
    def has_text(self) -> bool:
        """Whether there is a text side."""
        return self.padding is not None


_PROJECTED = ("visual_projection.weight", 0)
_POOLED = ("vision_model.head.probe", 2)
_CLASS_TOKEN = ("embeddings.cls_token", 2)

FAMILIES = {
    # Radford et al. 2021; also OpenCLIP's and MetaCLIP 1's conversions, FashionCLIP, TinyCLIP, BGE-VL.
    "clip": Family("CLIPModel", "softmax", _PROJECTED, "clip", "longest"),
    # Zhai et al. 2023; SigLIP 2 (Tschannen et al. 2025) at a fixed resolution. Trained with padding in sight.
    "siglip": Family("SiglipModel", "sigmoid", _POOLED, "siglip", "max_length", mask=False, longest=64),
    # SigLIP 2 with the aspect kept ("NaFlex").
    "siglip2": Family(
        "Siglip2Model",
        "sigmoid",
        _POOLED,
        "siglip2",
        "max_length",
        mask=False,
        longest=64,
        one_size=False,
    ),
    # Yang et al. 2022; its own code cuts texts at 52 tokens.
    "chinese_clip": Family("ChineseCLIPModel", "softmax", _PROJECTED, "chineseclip", "longest", cut=52),
    # Chen et al. 2022; as above, at 77.
    "altclip": Family("AltCLIPModel", "softmax", _PROJECTED, "clip", "longest", cut=77),
    # Chuang et al. 2025.
    "metaclip_2": Family("MetaClip2Model", "softmax", _PROJECTED, "clip", "longest"),
    # Oquab et al. 2023; Darcet et al. 2024. Their position embeddings are stretched to the picture.
    "dinov2": Family("Dinov2Model", "cosine", _CLASS_TOKEN, "bit", one_size=False),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", "cosine", _CLASS_TOKEN, "bit", one_size=False),
    # Siméoni et al. 2025.
    "dinov3_vit": Family("DINOv3ViTModel", "cosine", _CLASS_TOKEN, "dinov3vit", one_size=False),
    "dinov3_convnext": Family("DINOv3ConvNextModel", "cosine", ("layer_norm.weight", 0), "dinov3vit", one_size=False),
}
