"""TIFF: what Pillow reads wrongly without a word is set right, or refused.

Its own reader of uncompressed files takes a plane of 16 bits for one of 8, forgets inversion and the order of bits in
planes, and knows no subsampling. libtiff, by which it reads compressed ones, knows all of that.
"""

from typing import Any

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from clipflow.decode import directories as tags
from clipflow.failures import ImageFailure

_YCBCR, _PLANES, _PREMULTIPLIED, _DEFLATE = 6, 2, 1, 8
# Colour filter array and LinearRaw: what a sensor saw.
_SENSOR = frozenset({32803, 34892})
# Behind the header Canon's and Phase One's raws say what they are.
_RAW_HEADS = (b"CR", b"IIII", b"MMMM")
_FILL_ORDER, _COLORMAP, _INK_SET, _EXTRA_SAMPLES = 266, 320, 332, 338


def prepare(image: TiffImageFile, data: bytes) -> None:
    """Set an opened file right before its pixels are made.

    Raises:
        ImageFailure: unsupported_format for camera raws, which begin with a preview, and for what none reads right.
    """
    found = image.tag_v2
    signed = set(_all(found.get(tags.FORMAT, 1))) != {1} and image.mode not in ("I", "F")
    other_inks = image.mode == "CMYK" and found.get(_INK_SET, 1) != 1
    if is_raw(data) or signed or other_inks:
        raise ImageFailure("unsupported_format")
    in_planes = found.get(tags.PLANAR, 1) == _PLANES
    if in_planes and found.get(tags.SAMPLES, 1) == 1:
        found[tags.PLANAR] = 1  # One plane is the same either way.
        image._setup()
        in_planes = False
    subsampled = found.get(tags.PHOTOMETRIC) == _YCBCR and image.mode != "L"
    if found.get(tags.COMPRESSION, 1) == 1 and (subsampled or (in_planes and not _pillow_joins(image))):
        # Pillow asks libtiff for what is compressed, and libtiff reads in the file itself that it is not.
        found[tags.COMPRESSION] = _DEFLATE
        image._setup()
    # Of planes by libtiff Pillow misses one.
    if image.use_load_libtiff and in_planes and (image.mode in ("LA", "La", "PA") or has_unstated_alpha(image)):
        raise ImageFailure("unsupported_format")


def _pillow_joins(image: TiffImageFile) -> bool:
    """Whether Pillow puts uncompressed planes together rightly."""
    found = image.tag_v2
    plain = image.mode in ("RGB", "RGBA", "CMYK") and found.get(_FILL_ORDER, 1) == 1
    return plain and _bits(image) == 8 and _PREMULTIPLIED not in _all(found.get(_EXTRA_SAMPLES, 0))


def finish(image: TiffImageFile) -> None:
    """Set right what shows only when the pixels are made."""
    palette = image.tag_v2.get(_COLORMAP) if image.mode in ("P", "PA") else None
    if palette and max(palette) < 256:  # Old writers took the 16 bits for 8.
        image.putpalette(np.reshape(palette, (3, -1)).T.astype(np.uint8).tobytes())


def high_bytes(image: TiffImageFile, values: Any) -> Any:
    """Of uint16 samples of grey the high bytes, from black to white, uint8."""
    high = (values >> (_bits(image) - 8)).astype(np.uint8)
    return high if image.tag_v2.get(tags.PHOTOMETRIC, 0) else ~high


def has_unstated_alpha(image: TiffImageFile) -> bool:
    """Whether Pillow takes the fourth sample for alpha though the file does not say what it is."""
    return image.mode == "RGBA" and _EXTRA_SAMPLES not in image.tag_v2


def is_raw(data: bytes) -> bool:
    """Whether a file holds a camera's raw picture, or begins with a picture that it calls a reduced one."""
    if data[8:10] in _RAW_HEADS or data[8:12] in _RAW_HEADS:
        return True
    first = None
    for one in tags.directories(data):
        if first is None:
            first = one
            reduced = one.one(tags.SUBFILE) & 1 or one.one(tags.OLD_SUBFILE) == 2
            if reduced or tags.DNG in one.tags:
                return True
        if (one.below and one.pixels > first.pixels) or one.one(tags.PHOTOMETRIC) in _SENSOR:
            return True
    return False


def _bits(image: TiffImageFile) -> int:
    bits: int = _all(image.tag_v2.get(tags.BITS, 1))[0]
    return bits


def _all(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
