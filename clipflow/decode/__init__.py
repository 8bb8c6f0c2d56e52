"""Decode: the bytes of one file to the RGB that every model sees.

One policy, whatever the format; it is part of the preprocessing fingerprint. Whatever the
bytes are, the outcome is a `Decoded` or an `ImageFailure`, never anything else.
"""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from clipflow.decode import jpeg, png, tiff
from clipflow.decode.blame import blame
from clipflow.decode.colours import Pixels, in_bands
from clipflow.decode.draft import Needed, share
from clipflow.decode.frames import first_frame
from clipflow.decode.heif import MEDIA_TYPE as HEIC
from clipflow.decode.heif import is_heif, open_heif
from clipflow.decode.orientation import LYING, load_as_stored, orientation, turn_image, turn_pixels
from clipflow.decode.pillow_switches import own_limits
from clipflow.decode.truncation import ends_early
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
    "HEIF": HEIC,
}
"""The formats that are decoded, by Pillow's name; HEIF where its plugin is."""

# Pillow opens MPO as JPEG and finds out later.
_OPENED = tuple(name for name in MEDIA_TYPES if name not in ("MPO", "HEIF"))


@dataclass(frozen=True)
class Decoded:
    """One image as models see it.

    Attributes:
        rgb: uint8 [height, width, 3], C-contiguous, upright; of a draft smaller than the picture.
        media_type: Of the file, such as `image/jpeg`.
        height: Of the whole picture, upright, in pixels.
        width: The same.
        damaged: Whether the file is not what its format makes it, so that pixels may be missing or made up: its end
            mark is missing, or a chunk, strip or box that it announces goes on beyond its end; a JPEG of which libjpeg
            warns, or that lacks scans. Padding before an end mark (one byte, repeated), bytes behind it, and texts,
            profiles or sizes that lie do no harm to pixels, and do not count.
    """

    rgb: Pixels
    media_type: str
    height: int
    width: int
    damaged: bool = False

    @property
    def drafted(self) -> bool:
        """Whether `rgb` is smaller than the picture."""
        return self.rgb.shape[:2] != (self.height, self.width)


def decode(data: bytes, max_pixels: int, needed: Needed | None = None) -> Decoded:
    """Decode one file by `DECODE_POLICY`: what Pillow decodes, HEIC, and JPEG that lacks only its end mark.

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
        raise ImageFailure(blame(data, error)) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """A Pillow image by `DECODE_POLICY`: mode RGB, upright, alpha on white.

    Raises:
        ImageFailure: unsupported_format for modes whose range of values nobody states (32-bit and float grey, CIELAB).
    """
    load_as_stored(image)  # TIFF turns itself while it loads, and says so only afterwards.
    number = orientation(image)
    return turn_image(Image.fromarray(in_bands(image)), number)


def _decode(data: bytes, max_pixels: int, needed: Needed | None) -> Decoded:
    if is_heif(data):
        return _whole(in_bands(open_heif(data, max_pixels)), HEIC, data)
    try:
        return _by_pillow(data, max_pixels, needed)
    except ValueError as error:
        if not png.is_too_wordy(error):
            raise
        return _by_pillow(png.without_words(data), max_pixels, needed)


def _by_pillow(data: bytes, max_pixels: int, needed: Needed | None) -> Decoded:
    with Image.open(io.BytesIO(data), formats=_OPENED) as image:
        media_type = MEDIA_TYPES[image.format or ""]
        if image.width * image.height > max_pixels:
            raise ImageFailure("too_many_pixels")
        if media_type == "image/jpeg":
            return _jpeg(data, image, needed)
        return _whole(_shown(data, image), media_type, data)


def _whole(rgb: Pixels, media_type: str, data: bytes) -> Decoded:
    height, width = rgb.shape[:2]
    return Decoded(rgb, media_type, height, width, ends_early(data, media_type))


def _jpeg(data: bytes, image: Image.Image, needed: Needed | None) -> Decoded:
    number = orientation(image)
    height, width = (image.width, image.height) if number in LYING else (image.height, image.width)
    scale = share(height, width, needed(height, width)) if needed and image.mode != "CMYK" else 1
    # Of the scales that give at least so much libjpeg's smallest is taken: this very one.
    least = {"min_height": -(-image.height // scale), "min_width": -(-image.width // scale)} if scale > 1 else {}
    made, damaged = jpeg.fast(data, image, least)
    if made is None:
        try:
            image.load()
            made = in_bands(image)
        except OSError:
            made, damaged = jpeg.without_end_mark(data, image), True
            if made is None:
                raise
    return Decoded(np.ascontiguousarray(turn_pixels(made, number)), "image/jpeg", height, width, damaged)


def _shown(data: bytes, image: Image.Image) -> Pixels:
    """The pixels of a picture that is no JPEG, upright."""
    box, clear = first_frame(image, data), None
    if isinstance(image, PngImageFile):
        clear = png.prepare(image, data)
    elif isinstance(image, TiffImageFile):
        tiff.prepare(image, data)
    load_as_stored(image)
    if isinstance(image, TiffImageFile):
        tiff.finish(image)
    number = orientation(image)
    rgb = in_bands(image)
    if box is not None:
        left, top, right, bottom = box
        rgb[:top] = rgb[bottom:] = 255
        rgb[:, :left] = rgb[:, right:] = 255
    if clear is not None:
        rgb[clear] = 255
    return np.ascontiguousarray(turn_pixels(rgb, number))
