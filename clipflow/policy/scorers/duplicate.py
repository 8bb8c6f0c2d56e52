"""What scores of duplicates have in common: they compare a row with others of the table."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipflow.encoders.info import EncoderInfo
from clipflow.policy.scorers.base import Floats, Level, Scorer
from clipflow.spec import Rule

Bools = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

NOBODY = -1


class Rows(Protocol):
    """All N rows of a table, each at its place; see `table.census`.

    Attributes:
        rank: int64 [N], the place of each row in the order (source_modified, image_id): smaller is earlier.
        embedded: bool [N], rows that are there and have a vector.
    """

    rank: Places
    embedded: Bools

    @property
    def image_id(self) -> pa.Array:
        """String [N]."""
        ...

    def blocks(self, column: str) -> Iterator[tuple[int, pa.Array]]:
        """A column from its first row to its last, each block with the place of its first row."""
        ...

    def take(self, column: str, places: Places) -> pa.Array:
        """A column of some rows."""
        ...


@dataclass
class Best:
    """The most similar original of every row so far.

    Attributes:
        score: float32 [N]; NaN without one.
        match: int64 [N], its place; NOBODY without one.
        more: Further columns of the scorer, float32 [N] by column name.
    """

    score: Floats
    match: Places
    more: dict[str, Floats] = field(default_factory=dict)

    @classmethod
    def none(cls, rows: int) -> "Best":
        """Of N rows that were never compared."""
        return cls(np.full(rows, np.nan, np.float32), np.full(rows, NOBODY, np.int64))


@dataclass(frozen=True)
class Asked:
    """What changed since `Best` was right, bool [N] each.

    Attributes:
        anew: Rows to compare with every original.
        gained: Rows that are originals now, and were not.
        eligible: All rows that can be originals.
    """

    anew: Bools
    gained: Bools
    eligible: Bools


class Duplicate(Scorer, ABC):
    """`score_<rule>`: the best similarity to an original, which `match_<rule>` names.

    Rows that another rule or a reviewer rejects, and failed ones, are nobody's original. When it is computed
    says `policy.settle`.
    """

    level: ClassVar[Level] = "table"
    item: ClassVar[str]
    """The column that is compared."""
    whole: ClassVar[bool] = False
    """Whether it looks at the table as a whole, so that scores of other rows with the level `table` must not count."""

    def matches(self, rule: Rule) -> list[str]:
        """`match_<rule>`."""
        return [f"match_{rule.name}"]

    def inputs(self, rule: Rule, info: EncoderInfo) -> Any:
        """Nothing but the table."""
        return None

    @abstractmethod
    def compare(self, rule: Rule, rows: Rows, asked: Asked, best: Best) -> None:
        """Make `best` right again for what changed."""
