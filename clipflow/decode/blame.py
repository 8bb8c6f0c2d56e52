"""Blame: the failure code for bytes that no decoder made a picture of.

What is sound and not supported is told from what is broken by the header, since a decoder's words are the same.
"""

from PIL import UnidentifiedImageError

from clipflow.decode import directories as tags
from clipflow.decode.formats import recognise
from clipflow.decode.jpeg import frame
from clipflow.decode.tiff import is_raw
from clipflow.decode.truncation import any_ends_early

# Sizes of headers, depths and compressions that some BMP has.
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_BMP_DEPTHS = frozenset({1, 2, 4, 8, 16, 24, 32, 64})
_BMP_COMPRESSIONS = frozenset({*range(7), 11, 12, 13})
# Of TIFF: those of the standard, of its supplements, and of libtiff.
_COMPRESSIONS = {*range(1, 11), 99, *range(32766, 32774), 32809, 32867, *range(32895, 32899), 32908, 32909, 32946}
_COMPRESSIONS |= {32947, *range(33003, 33006), *range(34661, 34678), *range(34712, 34721), 34887, 34892}
_COMPRESSIONS |= {*range(34925, 34935), *range(50000, 50003), 52546, 65000, 65535}
_WEBP = 50001  # Pillow knows it, and its libtiff does not.
_PHOTOMETRICS = frozenset({*range(7), 8, 9, 10, 32803, 32844, 32845, 34892, 51177, 52527})


def blame(data: bytes, error: Exception) -> str:
    """The code of `failures` for bytes that Pillow gave up on with an error."""
    match recognise(data):
        case "supported":
            if "truncated" in str(error).lower() or any_ends_early(data):
                return "truncated"
            return "unsupported_format" if _is_sound(data, error) else "corrupt"
        case "unsupported":
            return "unsupported_format"
    return "not_an_image" if isinstance(error, UnidentifiedImageError) else "corrupt"


def _is_sound(data: bytes, error: Exception) -> bool:
    """Whether a header is one of a kind that exists and that is not decoded here."""
    if data.startswith(b"\xff\xd8"):
        return _is_other_jpeg(data)
    if data.startswith(b"BM"):
        return _is_other_bmp(data)
    if data[:2] in (b"II", b"MM"):
        # What fails later is known by its header, and broken behind it.
        early = isinstance(error, UnidentifiedImageError) or "unknown raw mode" in str(error)
        return is_raw(data) or _is_other_tiff(data, early)
    # Apple's own PNG, in which colours and their packing differ.
    return data[12:16] == b"CgBI"


def _is_other_jpeg(data: bytes) -> bool:
    """12 bits, lossless, hierarchical, two components or more than four, or a height that follows the pixels."""
    found = frame(data)
    if found is None:
        return False
    marker, bits, height, width, components = found
    lossless, plain = marker in (0xC3, 0xC7, 0xCB, 0xCF, 0xF7), marker in (0xC0, 0xC1, 0xC2, 0xC9, 0xCA)
    if not width or not (2 <= bits <= 16 if lossless else bits in (8, 12)):
        return False
    return not (plain and bits == 8 and height and components in (1, 3, 4))


def _is_other_bmp(data: bytes) -> bool:
    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], "little")

    header = number(14, 4)
    depth, packed = (number(24, 2), 0) if header == 12 else (number(28, 2), number(30, 4))
    if header not in _BMP_HEADERS or depth not in _BMP_DEPTHS or packed not in _BMP_COMPRESSIONS:
        return packed in (4, 5) and depth == 0
    masks = packed in (3, 6) and depth in (16, 32)
    return masks or header == 16 or depth in (2, 64) or packed > 3


def _is_other_tiff(data: bytes, early: bool) -> bool:
    first = next(tags.directories(data), None)
    if first is None or not first.pixels or not any(offsets in first.tags for offsets in tags.OFFSETS):
        return False
    packed = first.one(tags.COMPRESSION, 1)
    if not early and packed != _WEBP:
        return False
    known = packed in _COMPRESSIONS and first.one(tags.PHOTOMETRIC) in _PHOTOMETRICS
    return (
        known and all(1 <= bits <= 64 for bits in first.tags.get(tags.BITS, ())[:64]) and first.one(tags.FORMAT, 1) <= 6
    )
