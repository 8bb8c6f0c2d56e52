"""Colours: Pillow's many modes become RGB of 8 bits on white."""

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from clipflow.decode import tiff
from clipflow.failures import ImageFailure

Pixels = npt.NDArray[np.uint8]

# Pixels that are converted together.
_BAND = 1_000_000


def in_bands(image: Image.Image) -> Pixels:
    """uint8 [height, width, 3] of a loaded image; band by band, because Pillow's copies of a whole picture add up.

    Raises:
        ImageFailure: unsupported_format for modes whose range of values nobody states (32-bit and float grey, CIELAB).
    """
    image = _eight_bits(image)
    opaque = _has_no_alpha(image)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    step = max(1, _BAND // image.width)
    for top in range(0, image.height, step):
        end = min(top + step, image.height)
        band = image.crop((0, top, image.width, end))
        rgb[top:end] = np.asarray(band.convert("RGB") if opaque else _on_white(band))
    return rgb


def _on_white(image: Image.Image) -> Image.Image:
    """An image of 8 bits in mode RGB, without its alpha."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode in ("1", "La"):  # Pillow knows no way from them to RGBA, or a wrong one.
        image = image.convert("L" if image.mode == "1" else "LA")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """A loaded image, grey of 16 bits as its high bytes with a transparent value in white; others as they are."""
    if image.mode in ("I", "F", "LAB"):
        raise ImageFailure("unsupported_format")
    if not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    high = tiff.high_bytes(image, values) if isinstance(image, TiffImageFile) else (values >> 8).astype(np.uint8)
    if isinstance(key := image.info.get("transparency"), int):
        high[values == key] = 255
    return Image.fromarray(high)


def _has_no_alpha(image: Image.Image) -> bool:
    """Whether a fourth sample is zero throughout in a format that often has no alpha there."""
    doubtful = image.format == "BMP" or (isinstance(image, TiffImageFile) and tiff.has_unstated_alpha(image))
    return doubtful and image.mode == "RGBA" and image.getchannel("A").getbbox() is None
