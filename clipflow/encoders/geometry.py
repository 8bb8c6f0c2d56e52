"""What preprocessing computes: read from a checkpoint's processor files, reduced to what changes pixels."""

from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal

from clipflow.errors import EncoderError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of OpenAI's CLIP training images (Radford et al. 2021, as in github.com/openai/CLIP)."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of ImageNet's training images, as the DINO models take them."""

_HALF = (0.5, 0.5, 0.5)

_CROPPED: dict[str, Any] = {
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "image_mean": CLIP_MEAN,
    "image_std": CLIP_STD,
}
_SQUASHED: dict[str, Any] = {
    "size": {"height": 224, "width": 224},
    "crop_size": None,
    "do_center_crop": False,
    "image_mean": _HALF,
    "image_std": _HALF,
}
# What transformers assumes where the file is silent, by the class that the file names.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "clip": _CROPPED,
    "chineseclip": _CROPPED,
    "bit": _CROPPED,
    "siglip": _SQUASHED,
    "siglip2": {**_SQUASHED, "size": None, "resample": 2, "patch_size": 16, "max_num_patches": 256},
    "dinov3vit": {**_SQUASHED, "resample": 2, "image_mean": IMAGENET_MEAN, "image_std": IMAGENET_STD},
}
_COMMON: dict[str, Any] = {
    "resample": 3,
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
}

FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers of its resampling filters."""


@dataclass(frozen=True)
class Geometry:
    """Resize, then crop about the centre, then (pixel * scale - mean) / std; sizes are (height, width) in pixels.

    Attributes:
        shortest: The shorter side after resizing with the aspect kept, else None.
        squash: The size after resizing without regard to the aspect, else None. Neither: no resizing.
        crop: The size cut out of the middle, padded with black where there is less; None for no crop.
        filter: Of the resizing, antialiased as Pillow does it; None without resizing.
        scale: Factor from uint8 to what mean and std speak of, usually 1/255.
        mean: Per channel.
        std: Per channel.
        patches: (side in pixels, how many at most): resized with the aspect nearly kept, to whole patches and as
            many of them as allowed (SigLIP 2 NaFlex). The pictures differ in size then.
        rounded: Whether resized pixels are rounded to whole grey levels, as every processor does but DINOv3's.
        cover: The size that is covered with the aspect kept, each side rounded; else None.
        contain: The size that is filled from within with the aspect kept, each side rounded; else None.
        centre: Who rounds the place of crop and padding: transformers, or torchvision.
        fill: Grey level of the padding.
    """

    shortest: int | None
    squash: tuple[int, int] | None
    crop: tuple[int, int] | None
    filter: str | None
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    patches: tuple[int, int] | None = None
    rounded: bool = True
    cover: tuple[int, int] | None = None
    contain: tuple[int, int] | None = None
    centre: Literal["transformers", "torchvision"] = "transformers"
    fill: int = 0

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) of what comes out; None if it depends on the picture."""
        return self.crop or self.squash

    def __post_init__(self) -> None:
        if self.size is None and self.patches is None:
            raise EncoderError(
                "The image processor leaves images at different sizes.",
                "Its configuration needs a crop, or a size with height and width.",
            )

    def check_size(self, wanted: tuple[int, int]) -> None:
        """Raises EncoderError unless (height, width) of what comes out is what the model takes."""
        if self.size != wanted:
            raise EncoderError(
                f"The image processor makes {self.size} pixels where the model takes {wanted}.",
                "The files of two checkpoints are mixed; download it again.",
            )

    def body(self) -> dict[str, Any]:
        """Plain data for the card and the fingerprint; what has a default is there when it differs from it."""
        usual = {one.name: one.default for one in fields(self) if one.default is not MISSING}
        return {key: value for key, value in asdict(self).items() if key not in usual or value != usual[key]}

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> "Geometry":
        """The inverse of `body`, also after a trip through JSON."""
        plain: dict[str, Any] = {key: tuple(at) if isinstance(at, list) else at for key, at in body.items()}
        return cls(**plain)


def read_geometry(config: dict[str, Any], family: str) -> Geometry:
    """The geometry that an image processor's configuration describes.

    Args:
        config: Content of preprocessor_config.json, or the image processor's part of processor_config.json.
        family: A key of the defaults, such as clip or siglip; decides where the configuration names no class.

    Raises:
        EncoderError: It asks for something that is not computed here.
    """
    kind = str(config.get("image_processor_type") or config.get("feature_extractor_type") or family).lower()
    kind = next((name for name in sorted(_DEFAULTS, reverse=True) if kind.startswith(name)), kind)
    if kind not in _DEFAULTS:
        raise EncoderError(
            f"The image processor {config.get('image_processor_type')!r} is not supported.",
            f"Supported are those of {', '.join(sorted(_DEFAULTS))}.",
        )
    got = {**_COMMON, **_DEFAULTS[kind], **{key: value for key, value in config.items() if value is not None}}
    if got.get("do_pad"):
        raise EncoderError("The image processor pads before it crops, which is not supported.")
    patches = (int(got["patch_size"]), int(got["max_num_patches"])) if "max_num_patches" in got else None
    if patches and not got["do_resize"]:
        raise EncoderError("The image processor makes patches of pictures that it does not resize, so they do not fit.")
    if kind == "dinov3vit" and got["do_center_crop"]:
        raise EncoderError("The image processor crops pictures that it does not round, which is not supported.")
    shortest, squash = _target(got["size"]) if got["do_resize"] and not patches else (None, None)
    crop = _pair(got["crop_size"]) if got["do_center_crop"] else None
    resample = int(got["resample"])
    if resample not in FILTERS:
        raise EncoderError(f"The image processor names resampling filter {resample}, which Pillow does not have.")
    normalise = got["do_normalize"]
    return Geometry(
        shortest=shortest,
        squash=squash,
        crop=None if crop == squash else crop,
        filter=FILTERS[resample] if got["do_resize"] else None,
        scale=float(got["rescale_factor"]) if got["do_rescale"] else 1.0,
        mean=channels(got["image_mean"]) if normalise else (0.0, 0.0, 0.0),
        std=channels(got["image_std"]) if normalise else (1.0, 1.0, 1.0),
        patches=patches,
        rounded=kind != "dinov3vit",
    )


def _target(size: object) -> tuple[int | None, tuple[int, int] | None]:
    if isinstance(size, dict):
        keys = {key for key, value in size.items() if value is not None}
        if keys == {"shortest_edge"}:
            return int(size["shortest_edge"]), None
        if keys == {"height", "width"}:
            return None, _pair(size)
    elif isinstance(size, int):  # as OpenAI's own configurations say it
        return size, None
    elif isinstance(size, list) and len(size) == 2:
        return None, _pair(size)
    raise EncoderError(
        f"The image processor's size {size!r} is not supported.", "Use shortest_edge, or height and width."
    )


def _pair(size: object) -> tuple[int, int]:
    if isinstance(size, dict) and {"height", "width"} <= size.keys():
        return int(size["height"]), int(size["width"])
    if isinstance(size, int):
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    raise EncoderError(f"The image processor's size {size!r} is not a height and a width.")


def channels(values: object) -> tuple[float, float, float]:
    """A mean or a std, given as one number or as one per channel.

    Raises:
        EncoderError: It is neither.
    """
    if isinstance(values, int | float):
        return (float(values),) * 3
    if isinstance(values, list | tuple) and len(values) == 3:
        return (float(values[0]), float(values[1]), float(values[2]))
    raise EncoderError(f"The image processor's mean or std {values!r} is not one number per channel.")
