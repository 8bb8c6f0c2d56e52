"""Formats: what a file is by its first bytes, whether or not it can be decoded here."""

import re
from typing import Literal

_SUPPORTED = re.compile(
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
    | FUJIFILMCCD-RAW | IIRO | IIRS | MMOR | IIU\0 | FOVb | \0MRM     # camera raws
    | \x0a[\0-\5]\x01[\1\2\4\x08] | BLP[12]                        # PCX, BLP
    | Image\ type: | DanM | LinS | \xb1\x68\xde\x3a | FTEX           # IM, Paint, DCX, FTEX
    | \x80\xe8\0\0 | ....[\x11\x12]\xaf                              # Pixar, FLI
    | [\x28\x34\x38\x40\x6c\x7c]\0\0\0.{8}\x01\0[\x01\x04\x08\x10\x18\x20]\0  # a bitmap without its first header
    | /\*\ XPM\ \*/ | \#define\s+\w+_width\s | \x59\xa6\x6a\x95       # XPM, XBM, Sun raster
    """,
    re.DOTALL | re.VERBOSE,
)
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE\s+svg.*?>|\s)*<(?:\w+:)?svg[\s>]", re.DOTALL
)
_MOST_BRANDS = 1024
_TARGA_END = b"TRUEVISION-XFILE.\0"


def recognise(data: bytes) -> Literal["supported", "unsupported"] | None:
    """Whether the bytes begin as an image that is decoded here, as one of another format, or as no image (None)."""
    boxes = data[4:8] == b"ftyp"
    if _SUPPORTED.match(data) or (boxes and data[8:12] in (b"mif1", b"msf1") and {b"avif", b"avis"} & brands(data)):
        return "supported"
    if (
        _OTHER.match(data)
        or _SVG.match(data[:4096])
        or data.endswith(_TARGA_END)
        or (boxes and {b"avif", b"heic", b"mif1"} & brands(data))
    ):
        return "unsupported"
    return None


def brands(data: bytes) -> set[bytes]:
    """What a file of boxes says that it is compatible with, its first brand included."""
    end = min(int.from_bytes(data[:4], "big"), len(data), _MOST_BRANDS)
    return {data[at : at + 4] for at in (8, *range(16, end - 3, 4))}
