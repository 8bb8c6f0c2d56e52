"""Truncation: whether a container says that there should be more bytes than there are.

Decoders that stop as soon as they have the picture do not miss an end mark; the container knows what is missing.
"""

import re
from collections.abc import Callable

import numpy as np

from clipflow.decode.directories import COMPRESSION, LENGTHS, OFFSETS, directories
from clipflow.decode.jpeg import has_end_mark


def ends_early(data: bytes, media_type: str) -> bool:
    """Whether a file of this media type, by its own words, ends before it should; False for other beginnings."""
    return _CONTAINERS[media_type](data)


def any_ends_early(data: bytes) -> bool:
    """The same for a file of a media type that no decoder could tell."""
    return any(container(data) for container in _CONTAINERS.values())


def _jpeg(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8") and not has_end_mark(data)


def _png(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and _walk(data, 8, _png_chunk)


def _webp(data: bytes) -> bool:
    return data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)


# Parts that are looked at: more are a trap.
_MOST = 2_000_000
_GIF_BLOCK = re.compile(rb"[!,;]")


def _gif(data: bytes) -> bool:
    """Whether there is no trailer behind the last block; what is no block is padding."""
    at, in_block = 13 + _colours(data[10:11]), False
    for _ in range(_MOST if data.startswith(b"GIF8") else 0):
        if in_block:  # It has parts, the last of which is empty.
            in_block = at < len(data) and data[at] > 0
            at += 1 + (data[at] if in_block else 0)
            continue
        found = _GIF_BLOCK.search(data, at)
        if found is None or found[0] == b";":
            return found is None
        # An extension has a label before its parts; a picture its place, its colours, and the width of its codes.
        at, in_block = found.start(), True
        at += 2 if found[0] == b"!" else 11 + _colours(data[at + 9 : at + 10])
    return False


def _bmp(data: bytes) -> bool:
    """Whether the pixels of an uncompressed bitmap go on beyond the data; its own words about its size often err."""
    size, width, depth, packed = (
        int.from_bytes(data[a:b], "little") for a, b in ((14, 18), (18, 22), (28, 30), (30, 34))
    )
    if not data.startswith(b"BM") or size < 40 or packed not in (0, 3):
        return data.startswith(b"BM") and int.from_bytes(data[2:6], "little") > len(data)
    height = abs(int.from_bytes(data[22:26], "little", signed=True))
    return int.from_bytes(data[10:14], "little") + (width * depth + 31) // 32 * 4 * height > len(data)


def _boxes(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and _walk(data, 0, _box)


def _tiff(data: bytes) -> bool:
    """Whether the first directory, or a compressed strip or tile that it names, lies beyond the data.

    Uncompressed ones are as long as the picture is wide and high, whatever else is said of them.
    """
    first = next(directories(data), None)
    if first is None or first.ends_early:
        return first is not None
    for offsets, lengths in zip(OFFSETS, LENGTHS, strict=True):
        begins = np.asarray(first.tags.get(offsets, ()), float)
        long = np.asarray(first.tags.get(lengths, ()), float)[: len(begins)]
        ends = begins[: len(long)] + (long if first.one(COMPRESSION, 1) != 1 else 1)
        if (ends > len(data)).any():
            return True
    return False


_CONTAINERS: dict[str, Callable[[bytes], bool]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/webp": _webp,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/tiff": _tiff,
    "image/avif": _boxes,
    "image/heic": _boxes,
}


def _walk(data: bytes, at: int, after: Callable[[bytes, int], int | None]) -> bool:
    """Step from part to part; True when a part begins or ends beyond the data, False at the end mark (None)."""
    for _ in range(_MOST):
        if at >= len(data):
            break
        following = after(data, at)
        if following is None:
            return False
        at = following
    else:
        return False
    return at > len(data) or after is not _box


def _png_chunk(data: bytes, at: int) -> int | None:
    if data[at + 4 : at + 8] == b"IEND" and at + 12 <= len(data):
        return None
    return at + 12 + int.from_bytes(data[at : at + 4], "big")


def _colours(flags: bytes) -> int:
    """The length of a table of colours by the byte that announces it."""
    return 3 << 1 + (flags[0] & 7) if flags and flags[0] & 128 else 0


# Boxes without which there is no picture. What comes behind the last of them, phones append, and it may be no box.
_NEEDED = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"idat"})


def _box(data: bytes, at: int) -> int | None:
    size = int.from_bytes(data[at : at + 4], "big")
    if size == 1:
        size = int.from_bytes(data[at + 8 : at + 16], "big")
    # 0 is "to the end of the file"; less than a header is nonsense for the decoder to refuse.
    following = at + size if size >= 8 else None
    if following is not None and following > len(data) and data[at + 4 : at + 8] not in _NEEDED:
        return None
    return following
