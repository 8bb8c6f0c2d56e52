"""Decode: the bytes of one file to the RGB that every model sees.

One policy, whatever the format; it is part of the preprocessing fingerprint. Whatever the
bytes are, the outcome is a `Decoded` or an `ImageFailure`, never anything else.
"""

import io
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from clipflow.decode.draft import Needed, share
from clipflow.decode.formats import recognise
from clipflow.decode.orientation import LYING, orientation, turn_image, turn_pixels
from clipflow.decode.pillow_switches import own_limits
from clipflow.decode.truncation import any_ends_early, ends_early
from clipflow.failures import ImageFailure

DECODE_POLICY: dict[str, str] = {
    "exif_orientation": "applied",
    "alpha": "composited on white",
    "animation": "first frame",
    "icc": "ignored",
    "cmyk": "pillow",
    "grey16": "high byte",
    "decode": "exact",
}
"""What `decode` does to pixels; goes into `preprocess_fp`, so a changed word is a changed encoder."""

MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
}
"""The formats that are decoded, by Pillow's name."""

# Pillow opens MPO as JPEG and finds out later.
_OPENED = tuple(name for name in MEDIA_TYPES if name != "MPO")

# libjpeg names these and shows a whole picture: a few stuffed bytes before a marker, and careless scan parameters.
_HARMLESS = re.compile(r"Corrupt JPEG data: (?:\d|1[0-6]) extraneous bytes|Invalid SOS parameters")

# Sound files of these often end otherwise than they say, and their first frame decodes all the same.
_LENIENT = frozenset({"image/gif", "image/bmp"})

# Pixels that are converted together.
_BAND = 1_000_000

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Decoded:
    """One image as models see it.

    Attributes:
        rgb: uint8 [height, width, 3], C-contiguous, upright; of a draft smaller than the picture.
        media_type: Of the file, such as `image/jpeg`.
        height: Of the whole picture, upright, in pixels.
        width: The same.
    """

    rgb: Pixels
    media_type: str
    height: int
    width: int

    @property
    def drafted(self) -> bool:
        """Whether `rgb` is smaller than the picture."""
        return self.rgb.shape[:2] != (self.height, self.width)


def decode(data: bytes, max_pixels: int, needed: Needed | None = None) -> Decoded:
    """Decode one file by `DECODE_POLICY`.

    Args:
        data: The whole file.
        max_pixels: The most width times height may be; judged from the header, before pixels are made.
        needed: Asks for a draft, and says what size will be needed of the whole picture's (height, width).

    Raises:
        ImageFailure: empty, not_an_image, unsupported_format, truncated, corrupt or too_many_pixels.
    """
    if not data:
        raise ImageFailure("empty")
    try:
        with own_limits():
            return _decode(data, max_pixels, needed)
    except ImageFailure:
        raise
    except Exception as error:  # Plugins raise whatever they like; all of it says the bytes are bad.
        raise ImageFailure(_blame(data, error)) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """A Pillow image by `DECODE_POLICY`: mode RGB, upright, alpha on white.

    Raises:
        ImageFailure: unsupported_format for modes whose range of values nobody states (32-bit and float grey, CIELAB).
    """
    image.load()  # TIFF turns itself while it loads, and says so only afterwards.
    number = orientation(image)
    return turn_image(_without_alpha(image), number)


def _decode(data: bytes, max_pixels: int, needed: Needed | None) -> Decoded:
    with Image.open(io.BytesIO(data), formats=_OPENED) as image:
        media_type = MEDIA_TYPES[image.format or ""]
        if image.width * image.height > max_pixels:
            raise ImageFailure("too_many_pixels")
        made = _fast_jpeg(data, image, needed) if media_type == "image/jpeg" else None
        if made is None:
            if media_type not in _LENIENT and ends_early(data, media_type):
                raise ImageFailure("truncated")
            rgb = np.ascontiguousarray(_in_bands(image))
            made = Decoded(rgb, media_type, *rgb.shape[:2])
    return made


def _in_bands(image: Image.Image) -> Pixels:
    """What `to_rgb` gives, as pixels; made band by band, because Pillow's copies of a whole picture add up."""
    image.load()
    number = orientation(image)
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    step = max(1, _BAND // image.width)
    for top in range(0, image.height, step):
        end = min(top + step, image.height)
        rgb[top:end] = np.asarray(_without_alpha(image.crop((0, top, image.width, end))))
    return turn_pixels(rgb, number)


def _fast_jpeg(data: bytes, image: Image.Image, needed: Needed | None) -> Decoded | None:
    """libjpeg-turbo without Pillow's copies; None for what it cannot judge or convert as Pillow does."""
    if image.mode not in ("RGB", "L"):
        return None
    number = orientation(image)
    height, width = (image.width, image.height) if number in LYING else (image.height, image.width)
    scale = share(height, width, needed(height, width)) if needed else 1
    # Of the scales that give at least so much libjpeg's smallest is taken: this very one.
    least = {"min_height": -(-image.height // scale), "min_width": -(-image.width // scale)} if scale > 1 else {}
    try:
        rgb: Pixels = simplejpeg.decode_jpeg(data, "RGB", **least)
    except ValueError as error:
        said = str(error)
        if "remature end" in said:
            raise ImageFailure("truncated") from error
        if "Corrupt" in said and not _HARMLESS.search(said):
            raise ImageFailure("corrupt") from error
        return None
    return Decoded(np.ascontiguousarray(turn_pixels(rgb, number)), "image/jpeg", height, width)


def _without_alpha(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F", "LAB"):
        raise ImageFailure("unsupported_format")
    if image.mode.startswith("I;16"):
        values = np.asarray(image)
        grey = Image.fromarray((values >> 8).astype(np.uint8))
        if isinstance(key := image.info.get("transparency"), int):
            grey.paste(255, mask=Image.fromarray(values == key))
        return grey.convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")


def _blame(data: bytes, error: Exception) -> str:
    """The failure code for bytes that Pillow gave up on."""
    match recognise(data):
        case "supported":
            return "truncated" if "truncated" in str(error).lower() or any_ends_early(data) else "corrupt"
        case "unsupported":
            return "unsupported_format"
    return "not_an_image" if isinstance(error, UnidentifiedImageError) else "corrupt"
