"""HEIC and HEIF: phones' pictures, where the plugin pillow-heif is installed.

Its wheel holds libraries under the LGPL and, for an encoder that is not used here, the GPL: hence an extra of its own.
"""

import re
from functools import cache
from importlib.util import find_spec
from typing import Any

from PIL import Image

from clipflow.decode.formats import brands
from clipflow.decode.truncation import ends_early
from clipflow.failures import ImageFailure

MEDIA_TYPE = "image/heic"
_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_SIZES = re.compile(rb"ispe\0\0\0\0(.{4})(.{4})", re.DOTALL)


@cache
def heif_is_here() -> bool:
    """Whether this machine decodes HEIC."""
    return find_spec("pillow_heif") is not None


def is_heif(data: bytes) -> bool:
    """Whether a file says that it is one, and no AVIF."""
    if data[4:8] != b"ftyp" or data[8:12] not in _BRANDS:
        return False
    return data[8:12] not in (b"mif1", b"msf1") or not {b"avif", b"avis"} & brands(data)


def open_heif(data: bytes, max_pixels: int) -> Image.Image:
    """The primary picture, upright: its turns stand in the container, and what EXIF says of them too does not count.

    Raises:
        ImageFailure: unsupported_format without the plugin, and for other codecs in the same container;
            too_many_pixels, from the header, for what is shown and for what that is cut from.
    """
    if not heif_is_here():
        raise ImageFailure("unsupported_format")
    import pillow_heif

    # Lanes are the threads; thumbnails and other pictures beside the primary one are not wanted.
    pillow_heif.options.DECODE_THREADS = 1
    try:
        found: Any = pillow_heif.open_heif(data)
    except (ValueError, RuntimeError, EOFError, OSError) as error:
        raise _failure(data, error) from error
    stored = (int.from_bytes(a, "big") * int.from_bytes(b, "big") for a, b in _SIZES.findall(data, 0, 1 << 20))
    if max(found.size[0] * found.size[1], *stored, 0) > max_pixels:
        raise ImageFailure("too_many_pixels")
    try:
        image: Image.Image = found.to_pillow()
    except (ValueError, RuntimeError, EOFError, OSError) as error:
        raise _failure(data, error) from error
    image.info = {}
    return image


def _failure(data: bytes, error: Exception) -> ImageFailure:
    said = str(error)
    if "nexpected end of file" in said or ends_early(data, MEDIA_TYPE):
        return ImageFailure("truncated")
    # A sequence may have no picture of its own.
    return ImageFailure("unsupported_format" if "nsupported" in said or b"meta" not in data else "corrupt")
