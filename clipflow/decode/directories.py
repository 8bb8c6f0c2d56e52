"""Directories of a TIFF: the few tags that tell what its pictures are, in both sizes and both orders of bytes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
SAMPLES, PLANAR, SUBFILE, OLD_SUBFILE, SUB_DIRECTORIES, FORMAT, DNG = 277, 284, 254, 255, 330, 339, 50706
OFFSETS, LENGTHS = (273, 324), (279, 325)
_WANTED = frozenset({WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, SUBFILE, OLD_SUBFILE})
_WANTED |= {SUB_DIRECTORIES, FORMAT, DNG, *OFFSETS, *LENGTHS}
# BYTE, SHORT, LONG, UNDEFINED, IFD, LONG8 and IFD8.
_SIZES = {1: 1, 3: 2, 4: 4, 7: 1, 13: 4, 16: 8, 18: 8}
# Directories, and entries of each, that are looked at: more are a trap.
_MOST, _MOST_ENTRIES = 64, 4096
Numbers = Sequence[int] | npt.NDArray[np.unsignedinteger[Any]]


class Directory(NamedTuple):
    """One directory, that is one picture.

    Attributes:
        tags: The values of the tags above, so far as they lie within the data.
        ends_early: Whether the directory, or the values of one of these tags, lie beyond the data.
        following: Where the next one is; 0 after the last.
        below: Whether another directory names it as one of its own.
    """

    tags: Mapping[int, Numbers]
    ends_early: bool
    following: int
    below: bool

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.one(WIDTH) * self.one(HEIGHT)

    def one(self, tag: int, default: int = 0) -> int:
        """The first value of a tag."""
        values = self.tags.get(tag, ())
        return int(values[0]) if len(values) else default


def directories(data: bytes) -> Iterator[Directory]:
    """The first directory and those behind it, each followed by those below it; not more than 64 in all."""
    if data[:2] not in (b"II", b"MM"):
        return
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    big = int.from_bytes(data[2:4], order) == 43
    waiting = [(int.from_bytes(data[8:16] if big else data[4:8], order), False)]
    seen: set[int] = set()
    while waiting and len(seen) < _MOST:
        at, below = waiting.pop()
        if at == 0 or at in seen:
            continue
        seen.add(at)
        found = _read(data, at, order, big, below)
        yield found
        waiting.append((found.following, below))
        waiting += [(int(place), True) for place in reversed(found.tags.get(SUB_DIRECTORIES, ())[:_MOST])]


def _read(data: bytes, at: int, order: Literal["little", "big"], big: bool, below: bool) -> Directory:
    def number(place: int, size: int) -> int:
        return int.from_bytes(data[place : place + size], order)

    wide, head, step = (8, 8, 20) if big else (4, 2, 12)
    end = at + head + step * number(at, head)
    early = at + head > len(data) or end > len(data)
    tags = {}
    for entry in range(at + head, min(end, at + head + step * _MOST_ENTRIES, len(data) - step + 1), step):
        tag, kind, count = number(entry, 2), number(entry + 2, 2), number(entry + 4, wide)
        if tag not in _WANTED or kind not in _SIZES:
            continue
        size = _SIZES[kind]
        place = entry + 4 + wide
        first = place if size * count <= wide else number(place, wide)
        if first + size * count > len(data):
            early = True
            continue
        tags[tag] = np.frombuffer(data, f"{'<' if order == 'little' else '>'}u{size}", count, first)
    return Directory(tags, early, number(end, wide) if end + wide <= len(data) else 0, below)
