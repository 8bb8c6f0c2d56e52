"""Decode: the bytes of one file to the RGB that every model sees.

One policy, whatever the format; it is part of the preprocessing fingerprint. Whatever the
bytes are, the outcome is a `Decoded` or an `ImageFailure`, never anything else.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

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

_DECODED = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8[79]a|BM.{12}|(?:II[*+]\0|MM\0[*+])|....ftyp(?:avif|avis)",
    re.DOTALL,
)

# Beginnings of formats that are images all the same: they tell "not decoded here" from "no image at all".
_OTHER = re.compile(
    rb"""
      ....ftyp(?:heic|heix|heim|heis|hevc|hevx|mif1|msf1|mif2|crx\ )   # HEIF, Canon CR3
    | \xff\x0a | \0\0\0\x0cJXL\ \r\n\x87\n                            # JPEG XL
    | \0\0\0\x0cjP\ \ \r\n\x87\n | \xff\x4f\xff\x51                   # JPEG 2000
    | II\xbc[\0\1] | 8BPS\0[\1\2] | \0\0[\1\2]\0[\1-\xff]\0           # JPEG XR, Photoshop, icon and cursor
    | P[1-7][\s\#] | P[Ff]\n | qoif | \x76\x2f\x31\x01 | \#\?RADIANCE # Netpbm, PFM, QOI, OpenEXR, Radiance
    | DDS\ \x7c | icns | gimp\ xcf | \x01\xda[\0\1][\1\2] | SIMPLE\ \ =   # DirectDraw, Apple icons, GIMP, SGI, FITS
    | \xd7\xcd\xc6\x9a | \x01\0\0\0.{36}\ EMF | %!PS-Adobe-[\d.]+\ EPSF | \xc5\xd0\xd3\xc6  # WMF, EMF, EPS
    | \x8aMNG\r\n | \x8bJNG\r\n | AT&TFORM | FORM....(?:ILBM|PBM\ )   # MNG, JNG, DjVu, Amiga
    | FUJIFILMCCD-RAW | IIRO | IIRS | IIU\0 | \x0a[\0-\5]\x01[\1\2\4\x08] | BLP[12]   # camera raw, PCX, BLP
    | /\*\ XPM\ \*/ | \#define\s+\w+_width\s | \x59\xa6\x6a\x95       # XPM, XBM, Sun raster
    """,
    re.DOTALL | re.VERBOSE,
)
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE\s+svg.*?>|\s)*<(?:\w+:)?svg[\s>]", re.DOTALL
)

# libjpeg names these and shows a whole picture: a few stuffed bytes before a marker, and careless scan parameters.
_HARMLESS = re.compile(r"Corrupt JPEG data: (?:\d|1[0-6]) extraneous bytes|Invalid SOS parameters")

# Sound files of these often end otherwise than they say, and their first frame decodes all the same.
_LENIENT = frozenset({"image/gif", "image/bmp"})

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Decoded:
    """One image as models see it.

    Attributes:
        rgb: uint8 [height, width, 3], C-contiguous, upright.
        media_type: Of the file, such as `image/jpeg`.
    """

    rgb: Pixels
    media_type: str


def decode(data: bytes, max_pixels: int) -> Decoded:
    """Decode one file by `DECODE_POLICY`.

    Args:
        data: The whole file.
        max_pixels: The most width times height may be; judged from the header, before pixels are made.

    Raises:
        ImageFailure: empty, not_an_image, unsupported_format, truncated, corrupt or too_many_pixels.
    """
    if not data:
        raise ImageFailure("empty")
    try:
        with _own_limits():
            return _decode(data, max_pixels)
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
    turn = _TURNS.get(_orientation(image))
    image = _without_alpha(image)
    return image if turn is None else image.transpose(turn)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF 2.3, tag 0x0112: how to turn what is stored into what is shown."""


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # Broken EXIF beside sound pixels is common, and viewers show such a picture as stored.
        return 1


def _decode(data: bytes, max_pixels: int) -> Decoded:
    with Image.open(io.BytesIO(data), formats=_OPENED) as image:
        media_type = MEDIA_TYPES[image.format or ""]
        if image.width * image.height > max_pixels:
            raise ImageFailure("too_many_pixels")
        rgb = _fast_jpeg(data, image) if media_type == "image/jpeg" else None
        if rgb is None:
            if media_type not in _LENIENT and _ends_early(data, media_type):
                raise ImageFailure("truncated")
            rgb = np.asarray(to_rgb(image))
    return Decoded(np.ascontiguousarray(rgb), media_type)


def _fast_jpeg(data: bytes, image: Image.Image) -> Pixels | None:
    """libjpeg-turbo without Pillow's copies; None for what it cannot judge or convert as Pillow does."""
    if image.mode not in ("RGB", "L"):
        return None
    try:
        rgb: Pixels = simplejpeg.decode_jpeg(data, "RGB")
    except ValueError as error:
        said = str(error)
        if "remature end" in said:
            raise ImageFailure("truncated") from error
        if "Corrupt" in said and not _HARMLESS.search(said):
            raise ImageFailure("corrupt") from error
        return None
    turn = _TURNED.get(_orientation(image))
    return rgb if turn is None else turn(rgb)


_TURNED: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda rgb: rgb[:, ::-1],
    3: lambda rgb: rgb[::-1, ::-1],
    4: lambda rgb: rgb[::-1],
    5: lambda rgb: rgb.transpose(1, 0, 2),
    6: lambda rgb: rgb[::-1].transpose(1, 0, 2),
    7: lambda rgb: rgb[::-1, ::-1].transpose(1, 0, 2),
    8: lambda rgb: rgb.transpose(1, 0, 2)[::-1],
}


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
    if _DECODED.match(data) or (data[4:8] == b"ftyp" and b"avif" in data[8:64]):
        said = str(error)
        early = "truncated" in said.lower() or any(_ends_early(data, kind) for kind in set(MEDIA_TYPES.values()))
        return "truncated" if early else "corrupt"
    if _OTHER.match(data) or _SVG.match(data[:4096]):
        return "unsupported_format"
    if isinstance(error, UnidentifiedImageError):
        return "not_an_image"
    return "corrupt"


def _ends_early(data: bytes, media_type: str) -> bool:
    """Whether the container says there should be more bytes than there are."""
    if media_type == "image/png":
        return data.startswith(b"\x89PNG") and _walk(data, 8, _png_chunk)
    if media_type == "image/webp":
        return data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)
    if media_type == "image/avif":
        return data[4:8] == b"ftyp" and _walk(data, 0, _avif_box)
    if media_type == "image/jpeg":
        return data.startswith(b"\xff\xd8") and _walk(data, 2, _jpeg_segment)
    if media_type == "image/bmp":
        return data.startswith(b"BM") and int.from_bytes(data[2:6], "little") > len(data)
    if media_type == "image/tiff":
        return data[:2] in (b"II", b"MM") and _tiff_ends_early(data)
    return data.startswith(b"GIF8") and not data.rstrip(b"\0").endswith(b";")


def _tiff_ends_early(data: bytes) -> bool:
    """Whether the first directory of a classic TIFF, or a strip or tile it names, lies beyond the data."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    directory = number(4, 4)
    entries = range(directory + 2, directory + 2 + 12 * number(directory, 2), 12)
    if number(2, 2) != 42 or entries.stop > len(data) or directory + 2 > len(data):
        return number(2, 2) == 42
    values: dict[int, list[int]] = {}
    for at in entries:
        tag, kind, count = number(at, 2), number(at + 2, 2), number(at + 4, 4)
        if tag in (273, 279, 324, 325) and kind in (3, 4):
            size = 2 if kind == 3 else 4
            first = at + 8 if size * count <= 4 else number(at + 8, 4)
            if first + size * count > len(data):
                return True
            values[tag] = [number(first + size * i, size) for i in range(count)]
    parts = zip(values.get(273, []) + values.get(324, []), values.get(279, []) + values.get(325, []), strict=False)
    return any(offset + length > len(data) for offset, length in parts)


def _walk(data: bytes, at: int, after: Callable[[bytes, int], int | None]) -> bool:
    """Step from part to part; True when a part begins or ends beyond the data, False at the end mark (None)."""
    while at < len(data):
        following = after(data, at)
        if following is None:
            return False
        at = following
    return at > len(data) or after is not _avif_box


def _png_chunk(data: bytes, at: int) -> int | None:
    if data[at + 4 : at + 8] == b"IEND":
        return None
    return at + 12 + int.from_bytes(data[at : at + 4], "big")


def _avif_box(data: bytes, at: int) -> int | None:
    size = int.from_bytes(data[at : at + 4], "big")
    if size == 1:
        size = int.from_bytes(data[at + 8 : at + 16], "big")
    # 0 is "to the end of the file"; less than a header is nonsense for the decoder to refuse.
    return at + size if size >= 8 else None


_JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _jpeg_segment(data: bytes, at: int) -> int | None:
    found = _JPEG_MARKER.search(data, at)
    if found is None:
        return len(data) + 1
    if found[0] == b"\xff\xd9":
        return None
    return found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")


_guard = threading.Lock()
_inside = 0
_undo: Iterator[None] | None = None


@contextmanager
def _own_limits() -> Iterator[None]:
    """Keep Pillow's pixel limit and its warnings out of the outcome, from the first thread inside to the last.

    Both are switches of the whole process, so they are counted rather than nested: nested switches
    of two threads that overlap would be put back in the wrong order.
    """
    global _inside, _undo
    with _guard:
        _inside += 1
        if _inside == 1:
            _undo = _quiet()
            next(_undo)
    try:
        yield
    finally:
        with _guard:
            _inside -= 1
            if _inside == 0 and _undo is not None:
                next(_undo, None)
                _undo = None


def _quiet() -> Iterator[None]:
    limit: Any = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        Image.MAX_IMAGE_PIXELS = None
        yield
    Image.MAX_IMAGE_PIXELS = limit
