"""Many byte strings looked for at once, in one pass over the bytes however many they are."""

import hashlib
from collections.abc import Iterator

import numpy as np

ANCHOR = 8
"""Bytes by which a needle is recognised; shorter ones are not looked for."""
_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 divided by the golden ratio: multiplying by it spreads the bits
_MIN_BITS, _MAX_BITS = 16, 26

Spans = tuple[tuple[int, int], ...]
"""Of the needles with one anchor, how many bytes stand before its begin and after it."""


class Needles:
    """Byte strings by number. Of each only its anchor and a digest are held.

    The anchor is the needle's last eight bytes, where addresses and captions differ most, or others where
    those say little. A table of hashed anchors sorts out nearly all places of the bytes searched, a
    dictionary those that are left, and a digest decides. A needle takes about 300 bytes of memory.
    """

    def __init__(self) -> None:
        self._spans: dict[int, Spans] = {}
        self._numbers: dict[bytes, int] = {}
        self._same: dict[Spans, Spans] = {}
        self._table: np.ndarray | None = None
        self._shift = np.uint64(0)
        self.longest = 0

    def add(self, needle: bytes, number: int) -> int:
        """Look for a needle of at least `ANCHOR` bytes; gives its number, which of the same bytes is the first one."""
        at = _anchor(needle)
        anchor = int.from_bytes(needle[at : at + ANCHOR], "little")
        there, span = self._spans.get(anchor, ()), (at, len(needle) - at)
        if span not in there:
            spans = (*there, span)
            # Most needles have the spans of others: one tuple serves them all.
            self._spans[anchor] = self._same.setdefault(spans, spans)
            self._table = None
        self.longest = max(self.longest, len(needle))
        return self._numbers.setdefault(digest(needle), number)

    def find(self, data: bytes | memoryview) -> Iterator[tuple[int, int]]:
        """(number, offset) of every occurrence, in no order."""
        if not self._spans or len(data) < ANCHOR:
            return
        table = self._hashed()
        view = memoryview(data).cast("B") if not isinstance(data, bytes) else memoryview(data)
        for first in range(ANCHOR):
            words = np.frombuffer(view, "<u8", (len(view) - first) // ANCHOR, first)
            for place in np.flatnonzero(table[(words * _ODD) >> self._shift]):
                yield from self._occurrences(view, first + int(place) * ANCHOR, int(words[place]))

    def _occurrences(self, view: memoryview, at: int, anchor: int) -> Iterator[tuple[int, int]]:
        for before, after in self._spans.get(anchor, ()):
            if at >= before and at + after <= len(view):
                number = self._numbers.get(digest(view[at - before : at + after]))
                if number is not None:
                    yield number, at - before

    def _hashed(self) -> np.ndarray:
        if self._table is None:
            anchors = np.fromiter(self._spans, np.uint64, len(self._spans))
            bits = min(max(_MIN_BITS, len(anchors).bit_length() + 4), _MAX_BITS)
            self._shift = np.uint64(64 - bits)
            self._table = np.zeros(1 << bits, np.bool_)
            self._table[(anchors * _ODD) >> self._shift] = True
        return self._table


def digest(data: bytes | memoryview) -> bytes:
    """16 bytes that stand for the data."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _anchor(needle: bytes) -> int:
    """Where the eight bytes begin: the last ones, unless they repeat and others do so less."""
    last = len(needle) - ANCHOR
    if len(set(needle[last:])) > ANCHOR // 2:
        return last
    return max(range(last, -1, -1), key=lambda at: len(set(needle[at : at + ANCHOR])))
