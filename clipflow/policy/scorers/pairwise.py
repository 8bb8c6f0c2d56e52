"""Duplicates by comparing pairs: exact, block by block, and only the pairs that something changed for."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipflow.policy.scorers.duplicate import NOBODY, Asked, Best, Duplicate, Places, Rows
from clipflow.spec import Rule

# So many rows are held at once to be compared with the whole table, and so many pairs are looked at in one go.
_HELD, _TILE = 16_384, 2_048


class Pairwise(Duplicate):
    """The best similarity to a row that is earlier in (source_modified, image_id); of equal ones the earliest."""

    def reads(self, rule: Rule) -> frozenset[str]:
        """The column that is compared."""
        return frozenset({self.item})

    @abstractmethod
    def items(self, column: pa.Array) -> npt.NDArray[Any]:
        """N values of `item` as an array whose rows `similarity` compares; of nulls whatever comes handy."""

    @abstractmethod
    def similarity(self, left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """float64 [L, R] of two arrays that `items` made."""

    def compare(self, rule: Rule, rows: Rows, asked: Asked, best: Best) -> None:
        """Each row that is asked anew with all originals before it, each new original with all rows after it."""
        anew = asked.anew & rows.embedded
        best.score[asked.anew], best.match[asked.anew] = np.nan, NOBODY
        gained = asked.gained & rows.embedded
        places = np.flatnonzero(anew | gained)
        places = places[np.argsort(rows.rank[places], kind="stable")]
        for held in _parts(places, _HELD):
            left = self.items(rows.take(self.item, held))
            for start, block in rows.blocks(self.item):
                there = np.arange(start, start + len(block))
                if gained[held].any() or (rows.rank[there].min() < rows.rank[held].max()):
                    self._block(rows, asked, best, held, left, there, self.items(block))

    def _block(
        self,
        rows: Rows,
        asked: Asked,
        best: Best,
        held: Places,
        left: npt.NDArray[Any],
        there: Places,
        right: npt.NDArray[Any],
    ) -> None:
        for at in range(0, len(held), _TILE):
            some = held[at : at + _TILE]
            scores = self.similarity(left[at : at + _TILE], right).astype(np.float32)
            earlier = rows.rank[there][None, :] < rows.rank[some][:, None]
            search = asked.anew[some] & rows.embedded[some]
            if search.any():
                among = np.where(earlier[search] & asked.eligible[there][None, :], scores[search], -np.inf)
                _improve(rows, best, some[search], there, among)
            fresh = asked.gained[some] & rows.embedded[some]
            later = rows.embedded[there] & ~asked.anew[there]
            if fresh.any() and later.any():
                later_than = rows.rank[there[later]][None, :] > rows.rank[some[fresh]][:, None]
                among = np.where(later_than, scores[np.ix_(fresh, later)], -np.inf).T
                _improve(rows, best, there[later], some[fresh], among)


def _improve(rows: Rows, best: Best, mine: Places, others: Places, scores: npt.NDArray[np.float32]) -> None:
    """Take over what is better than `best`: float32 [M, O] similarities, -inf where a pair does not count."""
    top = scores.max(axis=1)
    found = np.isfinite(top)
    mine, scores, top = mine[found], scores[found], top[found]
    # Of equally similar ones the earliest.
    ranks = np.where(scores == top[:, None], rows.rank[others][None, :], np.iinfo(np.int64).max)
    match = others[ranks.argmin(axis=1)]
    held = best.score[mine]
    before = np.where(best.match[mine] == NOBODY, np.iinfo(np.int64).max, rows.rank[best.match[mine]])
    better = ~(held >= top) | ((held == top) & (rows.rank[match] < before))
    best.score[mine[better]], best.match[mine[better]] = top[better], match[better]


def _parts(places: Places, size: int) -> Iterator[Places]:
    for at in range(0, len(places), size):
        yield places[at : at + size]
