"""Orientation: EXIF 2.3, tag 0x0112, which says how to turn what is stored into what is shown."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNED: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.transpose(1, 0, 2),
    6: lambda rgb: rgb[::-1].transpose(1, 0, 2),
    7: lambda rgb: rgb[::-1, ::-1].transpose(1, 0, 2),
    8: lambda rgb: rgb.transpose(1, 0, 2)[::-1],
}

LYING = frozenset({5, 6, 7, 8})
"""The orientations whose height is the stored width."""


_XMP = frozenset({"xmp", "XML:com.adobe.xmp"})


def load_as_stored(image: Image.Image) -> None:
    """Make the pixels of a Pillow image; a TIFF turns itself meanwhile, and would by XMP, too."""
    xmp: dict[str | tuple[int, int], Any] = {name: image.info.pop(name) for name in _XMP & image.info.keys()}
    try:
        image.load()
    finally:
        image.info |= xmp


def orientation(image: Image.Image) -> int:
    """The number in the EXIF of a Pillow image, 1 (as stored) where there is none that can be read.

    XMP does not count: browsers do not look there, and editors leave the camera's number in it after turning.
    """
    try:
        if _XMP & image.info.keys():
            bare = Image.Image()
            bare.info = {name: value for name, value in image.info.items() if name not in _XMP}
            image = bare
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # Broken EXIF beside sound pixels is common, and viewers show such a picture as stored.
        return 1


def turn_image(image: Image.Image, number: int) -> Image.Image:
    """A Pillow image turned by an orientation; numbers outside EXIF's turn nothing."""
    turn = _TURNS.get(number)
    return image if turn is None else image.transpose(turn)


def turn_pixels(rgb: Pixels, number: int) -> Pixels:
    """The same for uint8 [height, width, 3]: a view, nothing is copied."""
    turn = _TURNED.get(number)
    return rgb if turn is None else turn(rgb)
