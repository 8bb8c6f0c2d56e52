"""The pixels that transformers' own image processors make of a picture, for the self-check."""

from pathlib import Path

import torch
from PIL import Image
from transformers import AutoImageProcessor

from clipflow.encoders.base import Pixels
from clipflow.encoders.geometry import Geometry


def processed(folder: Path, rgb: Pixels) -> dict[str, torch.Tensor]:
    """What the image processor that a checkpoint names makes of uint8 [height, width, 3]."""
    # One name for both backends: PIL's is the reference, torchvision's differs by up to a grey level.
    processor = AutoImageProcessor.from_pretrained(
        folder, local_files_only=True, backend="pil", trust_remote_code=False
    )
    return dict(processor(images=Image.fromarray(rgb), return_tensors="pt"))


def as_dinov3(rgb: Pixels, geometry: Geometry) -> dict[str, torch.Tensor]:
    """Scaled before it is resized, as transformers' DINOv3ViTImageProcessor has it."""
    values = torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None].float() * geometry.scale
    if geometry.squash is not None:
        values = torch.nn.functional.interpolate(values, geometry.squash, mode=str(geometry.filter), antialias=True)
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (geometry.mean, geometry.std))
    return {"pixel_values": (values - mean) / std}
