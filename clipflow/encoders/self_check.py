"""The self-check at load: one picture and one text by our path and by the library's own, before the first image.

A checkpoint whose files ask for something that is computed otherwise here would fill a table with vectors that look
right and are not. Three forwards of one picture tell.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor

from clipflow.encoders.base import Pixels, Vectors, normalised
from clipflow.encoders.families import FAMILIES
from clipflow.encoders.geometry import Geometry
from clipflow.errors import EncoderError

if TYPE_CHECKING:
    from clipflow.encoders.transformers_towers import TransformersEncoder

Output = Callable[[dict[str, torch.Tensor]], torch.Tensor]

LEAST_COSINE = 0.9995
"""Between our way and the library's, both in fp32: resized pixels may differ by one grey level."""
LEAST_COSINE_HALF = 0.99
"""Between half precision and fp32; trained checkpoints keep 0.999, random ones less."""
_TEXT = "A photo of Two cups, and a spoon."
# Its image processor exists for torchvision only, which this environment does not have.
_WITHOUT_PROCESSOR = frozenset({"dinov3_vit", "dinov3_convnext"})


def picture() -> Pixels:
    """The picture of the check: uint8 [333, 500, 3], slopes, edges and noise."""
    down, across = np.mgrid[0:333, 0:500]
    planes = [down * 255 // 332, across * 255 // 499, (down // 40 + across // 40) % 2 * 180]
    noise = np.random.default_rng(0).integers(0, 60, (333, 500, 3))
    return np.clip(np.stack(planes, axis=2) + noise, 0, 255).astype(np.uint8)


@torch.inference_mode()
def check_image_side(encoder: "TransformersEncoder", output: Output) -> Vectors:
    """Our vector of the picture in fp32, float32 [1, dim], once it is known to be the library's.

    Raises:
        EncoderError: It is another, or not finite.
    """
    rgb = picture()
    ours = encoder.encode_pixels([encoder.preprocess(rgb)])
    theirs = normalised(output(_library_inputs(encoder.info, rgb))[:, : encoder.info.dim].float().cpu().numpy())
    _compare(encoder.info.model, "picture", ours, theirs, LEAST_COSINE)
    return ours


@torch.inference_mode()
def check_text_side(encoder: "TransformersEncoder", output: Output, tokenizer: Any) -> None:
    """Raises EncoderError unless our vector of a text is the library's.

    Args:
        tokenizer: The library's own, right padded.
    """
    info = encoder.info
    text = _TEXT.lower() if info.text["lower_case"] else _TEXT
    asked: dict[str, Any] = {"truncation": True, "max_length": info.text["max_length"], "return_tensors": "pt"}
    if FAMILIES[info.family].mask:
        tokens = dict(tokenizer([text], padding=True, **asked))
    else:
        tokens = {"input_ids": tokenizer([text], padding="max_length", **asked)["input_ids"]}
    theirs = normalised(output(tokens)[:, : info.dim].float().cpu().numpy())
    _compare(info.model, "text", encoder.encode_texts([_TEXT]), theirs, LEAST_COSINE)


def check_precision(encoder: "TransformersEncoder", exact: Vectors) -> None:
    """Raises EncoderError unless the encoder, in its precision by now, agrees with its own fp32."""
    made = encoder.encode_pixels([encoder.preprocess(picture())])
    if not np.isfinite(made).all() or float((made * exact).sum()) < LEAST_COSINE_HALF:
        raise EncoderError(
            f"{encoder.info.model} in {encoder.precision} has a cosine of {float((made * exact).sum()):.4f} "
            f"to itself in fp32.",
            "Set encoder.precision: fp32.",
        )


def _library_inputs(info: Any, rgb: Pixels) -> dict[str, torch.Tensor]:
    if info.family in _WITHOUT_PROCESSOR:
        return {"pixel_values": _as_dinov3(rgb, Geometry.from_body(info.preprocess))}
    # One name for both backends: PIL's is the reference, torchvision's differs by up to a grey level.
    processor = AutoImageProcessor.from_pretrained(info.folder, local_files_only=True, backend="pil")
    return dict(processor(images=Image.fromarray(rgb), return_tensors="pt"))


def _as_dinov3(rgb: Pixels, geometry: Geometry) -> torch.Tensor:
    """Scaled before it is resized, as transformers' DINOv3ViTImageProcessor has it."""
    values = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() * geometry.scale
    if geometry.squash is not None:
        values = torch.nn.functional.interpolate(values, geometry.squash, mode=str(geometry.filter), antialias=True)
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (geometry.mean, geometry.std))
    return (values - mean) / std


def _compare(model: str, what: str, ours: Vectors, theirs: Vectors, least: float) -> None:
    if not np.isfinite(ours).all():
        raise EncoderError(
            f"{model} gives vectors that are not finite.", "Its weights are damaged: download the checkpoint again."
        )
    cosine = float((ours.astype(np.float64) * theirs).sum())
    if not cosine >= least:
        raise EncoderError(
            f"{model}: the vector of a {what} has a cosine of {cosine:.5f} to the one that transformers itself makes.",
            "Its files ask for something that clipflow computes otherwise; please report the model.",
        )
