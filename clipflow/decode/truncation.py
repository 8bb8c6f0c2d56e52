"""Truncation: whether a container says that there should be more bytes than there are.

Decoders show half a picture as grey or fail with any word; the container knows what is missing.
"""

import re
from collections.abc import Callable
from typing import Literal


def ends_early(data: bytes, media_type: str) -> bool:
    """Whether a file of this media type, by its own words, ends before it should; False for other beginnings."""
    return _CONTAINERS[media_type](data)


def any_ends_early(data: bytes) -> bool:
    """The same for a file of a media type that no decoder could tell."""
    return any(container(data) for container in _CONTAINERS.values())


def _jpeg(data: bytes) -> bool:
    return data.startswith(b"\xff\xd8") and _walk(data, 2, _jpeg_segment)


def _png(data: bytes) -> bool:
    return data.startswith(b"\x89PNG") and _walk(data, 8, _png_chunk)


def _webp(data: bytes) -> bool:
    return data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data)


def _gif(data: bytes) -> bool:
    return data.startswith(b"GIF8") and not data.rstrip(b"\0").endswith(b";")


def _bmp(data: bytes) -> bool:
    return data.startswith(b"BM") and int.from_bytes(data[2:6], "little") > len(data)


def _avif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and _walk(data, 0, _avif_box)


def _tiff(data: bytes) -> bool:
    """Whether the first directory of a classic TIFF, or a strip or tile it names, lies beyond the data."""
    if data[:2] not in (b"II", b"MM"):
        return False
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


_CONTAINERS: dict[str, Callable[[bytes], bool]] = {
    "image/jpeg": _jpeg,
    "image/png": _png,
    "image/webp": _webp,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/tiff": _tiff,
    "image/avif": _avif,
}


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
