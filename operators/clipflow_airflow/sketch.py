"""A sketch: a set of objects in a fixed number of bytes, from which the difference to a later set can be read.

An invertible Bloom lookup table (Goodrich and Mitzenmacher 2011; for differences Eppstein and others 2011). Each object
is added into three of the cells, chosen by its hash. Subtracting cell by cell leaves the objects that only
one of the sets holds; a cell with a single one left shows it, and taking that out frees others.
"""

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Self

_THIRD = 96
_CELLS = 3 * _THIRD
_BITS = 64
_LOW = (1 << _BITS) - 1
_SIGN = 1 << (_BITS - 1)

Cell = list[int]


class Sketch:
    """What a listing held, in about 20 KB however many objects that were; some hundred changes can be told apart."""

    def __init__(self, cells: Iterable[Cell] | None = None) -> None:
        self._cells: list[Cell] = [[0, 0, 0] for _ in range(_CELLS)] if cells is None else list(cells)

    def __len__(self) -> int:
        return sum(count for count, _, _ in self._cells[:_THIRD])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self._cells == other._cells

    __hash__ = None  # type: ignore[assignment]

    def add(self, identity: str, modified: int) -> None:
        """Take in an object.

        Args:
            identity: Its address and all that changes when its bytes do.
            modified: Microseconds since 1970, which the difference hands back.
        """
        name = blake2b(identity.encode(), digest_size=_BITS // 8).digest()
        self._put(int.from_bytes(name) << _BITS | (modified + _SIGN) & _LOW, 1)

    def since(self, earlier: Self) -> list[int] | None:
        """`modified` of each object that `earlier` lacks; None when more has changed than can be told apart."""
        pairs = zip(self._cells, earlier._cells, strict=True)
        rest = Sketch([now - before for now, before in zip(*pair, strict=True)] for pair in pairs)
        new = []
        pending = [cell for cell in rest._cells if any(cell)]
        while pending:
            count, total, check = pending.pop()
            item = count * total
            if abs(count) != 1 or not 0 <= item >> _BITS <= _LOW or count * check != _check(item):
                continue
            if count == 1:
                new.append((item & _LOW) - _SIGN)
            pending += rest._put(item, -count)
        return None if any(any(cell) for cell in rest._cells) else new

    def text(self) -> str:
        """The sketch as ASCII."""
        return " ".join(",".join(f"{number:x}" for number in cell) for cell in self._cells)

    @classmethod
    def read(cls, text: str) -> Self:
        """The sketch that `text()` wrote.

        Raises:
            ValueError: It is none, or one of another shape.
        """
        cells = [[int(number, 16) for number in cell.split(",")] for cell in text.split(" ")]
        if len(cells) != _CELLS or {len(cell) for cell in cells} != {3}:
            raise ValueError("not a sketch of this shape")
        return cls(cells)

    def _put(self, item: int, times: int) -> list[Cell]:
        """Add an object so many times, and hand back its cells."""
        check = _check(item)
        cells = [self._cells[place] for place in _places(check)]
        for cell in cells:
            cell[0] += times
            cell[1] += times * item
            cell[2] += times * check
        return cells


def _check(item: int) -> int:
    """A second hash, by which a cell that holds one object is told from a sum that looks like one."""
    return int.from_bytes(blake2b(item.to_bytes(2 * _BITS // 8), digest_size=_BITS // 8).digest())


def _places(check: int) -> Iterator[int]:
    """One cell in each third, so that the three differ."""
    for third in range(3):
        check, place = divmod(check, _THIRD)
        yield third * _THIRD + place
