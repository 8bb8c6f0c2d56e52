"""The ways in which models resize and crop, each beside the Pillow-based code that its authors or transformers use."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from clipflow.encoders.geometry import Geometry, read_geometry

Pixels = npt.NDArray[np.uint8]
_SIDE = 224


class Convention(NamedTuple):
    """Attributes:
    geometry: What clipflow computes.
    reference: The other's pixels of uint8 [height, width, 3], in the same shape.
    """

    geometry: Geometry
    reference: Callable[[Pixels], npt.NDArray[Any]]


def _by(processor: Any) -> Callable[[Pixels], npt.NDArray[Any]]:
    def reference(rgb: Pixels) -> npt.NDArray[Any]:
        made = processor(Image.fromarray(rgb), do_rescale=False, do_normalize=False, return_tensors="np")
        return np.moveaxis(made["pixel_values"][0], 0, -1)

    return reference


def _by_naflex(rgb: Pixels) -> npt.NDArray[Any]:
    made = Siglip2ImageProcessorPil()(Image.fromarray(rgb), do_rescale=False, do_normalize=False, return_tensors="np")
    down, across = made["spatial_shapes"][0]
    patches = np.asarray(made["pixel_values"][0][: down * across]).reshape(down, across, 16, 16, 3)
    return patches.transpose(0, 2, 1, 3, 4).reshape(down * 16, across * 16, 3)


def _by_padding(rgb: Pixels) -> npt.NDArray[Any]:
    # open_clip's ResizeKeepRatio with longest=1 and CenterCropOrPad (open_clip/transform.py), in Pillow's own words.
    ratio = max(rgb.shape[:2]) / _SIDE
    height, width = (round(side / ratio) for side in rgb.shape[:2])
    canvas = Image.new("RGB", (_SIDE, _SIDE))
    resized = Image.fromarray(rgb).resize((width, height), Image.Resampling.BICUBIC)
    canvas.paste(resized, ((_SIDE - width) // 2, (_SIDE - height) // 2))
    return np.asarray(canvas)


def conventions() -> dict[str, Convention]:
    """By name."""
    dinov2: dict[str, Any] = {"size": {"shortest_edge": 256}, "crop_size": {"height": _SIDE, "width": _SIDE}}
    cropped = read_geometry({}, "clip")
    padded = {**cropped.body(), "shortest": None, "contain": (_SIDE, _SIDE), "centre": "torchvision"}
    return {
        "shortest edge, crop (CLIP)": Convention(cropped, _by(CLIPImageProcessorPil())),
        "squash (SigLIP)": Convention(read_geometry({}, "siglip"), _by(SiglipImageProcessorPil())),
        "256, crop 224 (DINOv2)": Convention(read_geometry(dinov2, "bit"), _by(BitImageProcessorPil(**dinov2))),
        "longest edge, pad (open_clip)": Convention(Geometry.from_body(padded), _by_padding),
        "whole patches (SigLIP 2 NaFlex)": Convention(read_geometry({}, "siglip2"), _by_naflex),
    }
