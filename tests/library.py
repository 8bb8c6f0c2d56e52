"""A checkpoint used as transformers' documentation has it: the reference that our vectors and scores are held to."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

Vectors = npt.NDArray[np.float32]

# Tokens that the model takes, or that its authors keep; of tests/tiny_models and tests/tiny_families.
_LONGEST = {"clip": 24, "siglip": 16, "siglip2": 20, "chinese_clip": 52, "altclip": 77, "metaclip_2": 20}


class Library:
    """One picture at a time, in fp32.

    Args:
        folder: Of a tiny checkpoint.
        kind: Its `model_type`.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._kind = kind
        self.model: Any = AutoModel.from_pretrained(folder).eval()
        # DINOv3's processor exists for torchvision only.
        self._processor = None if self._dinov3 else AutoImageProcessor.from_pretrained(folder, backend="pil")
        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder) if kind in _LONGEST else None

    @property
    def _dinov3(self) -> bool:
        return self._kind.startswith("dinov3")

    @torch.inference_mode()
    def images(self, pictures: list[Image.Image]) -> Vectors:
        """RGB pictures to unit vectors, float32 [N, dim]."""
        made = []
        for picture in pictures:
            inputs = self._pixels(picture)
            embed = getattr(self.model, "get_image_features", self.model)
            made.append(_unit(embed(**inputs).pooler_output))
        return np.concatenate(made)

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> Vectors:
        """Texts to unit vectors, float32 [N, dim]."""
        return np.concatenate(
            [_unit(self.model.get_text_features(**self._tokens([one])).pooler_output) for one in texts]
        )

    @torch.inference_mode()
    def logits(self, pictures: list[Image.Image], texts: list[str]) -> torch.Tensor:
        """`logits_per_image` of the whole model, float32 [pictures, texts]."""
        tokens = self._tokens(texts)
        return torch.cat([self.model(**self._pixels(one), **tokens).logits_per_image for one in pictures])

    def _tokens(self, texts: list[str]) -> dict[str, torch.Tensor]:
        asked = {"truncation": True, "max_length": _LONGEST[self._kind], "return_tensors": "pt"}
        if not self._kind.startswith("siglip"):
            return dict(self._tokenizer(texts, padding=True, **asked))
        self._tokenizer.padding_side = "right"
        return {"input_ids": self._tokenizer(texts, padding="max_length", **asked)["input_ids"]}

    def _pixels(self, picture: Image.Image) -> dict[str, torch.Tensor]:
        if self._processor is not None:
            return dict(self._processor(picture, return_tensors="pt"))
        raw = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        raw = torch.nn.functional.interpolate(raw, (32, 32), mode="bilinear", antialias=True)
        mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        return {"pixel_values": (raw - mean) / std}


def _unit(vectors: torch.Tensor) -> Vectors:
    return np.asarray(vectors / vectors.norm(dim=1, keepdim=True), np.float32)
