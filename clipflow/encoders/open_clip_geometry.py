"""The preprocessing that open_clip's configurations describe; Jina-CLIP took its code over."""

from typing import Any

from clipflow.encoders.geometry import CLIP_MEAN, CLIP_STD, Geometry, channels
from clipflow.errors import EncoderError


def open_clip_geometry(config: dict[str, Any], side: Any) -> Geometry:
    """What `open_clip.transform.image_transform_v2` computes.

    Args:
        config: A preprocess_cfg; what is missing has open_clip's default.
        side: The model's image_size, which open_clip prefers to the size that the configuration names.

    Raises:
        EncoderError: It asks for what open_clip does not have.
    """
    got = {key: value for key, value in config.items() if value is not None}
    size = (int(side[0]), int(side[1])) if isinstance(side, list | tuple) else (int(side), int(side))
    mode, filter = got.get("resize_mode", "shortest"), got.get("interpolation", "bicubic")
    if mode not in ("shortest", "longest", "squash") or filter not in ("bicubic", "bilinear", "random"):
        raise EncoderError(f"open_clip does not resize by {mode!r} and {filter!r}.", "Check preprocess_cfg.")
    square = size[0] == size[1]
    if filter == "random" or (mode == "shortest" and not square):
        filter = "bicubic"  # open_clip passes no filter on where it covers an oblong
    return Geometry(
        shortest=size[0] if mode == "shortest" and square else None,
        squash=size if mode == "squash" else None,
        crop=None if mode == "squash" else size,
        filter=filter,
        scale=1 / 255,
        mean=channels(got.get("mean") or CLIP_MEAN),
        std=channels(got.get("std") or CLIP_STD),
        cover=size if mode == "shortest" and not square else None,
        contain=size if mode == "longest" else None,
        centre="transformers" if mode == "squash" else "torchvision",
        fill=int(got.get("fill_color", 0)) if mode == "longest" else 0,
    )
