"""What every scorer is, and what it sees."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from clipflow.spec import Rule

Floats = npt.NDArray[np.float32]
TextEncoder = Callable[[list[str]], Floats]


@dataclass(frozen=True)
class Evidence:
    """A batch of rows as a scorer sees them.

    Attributes:
        columns: Lists of length N by column name: measures, caption, attributes.
        vectors: float64 [N, dim], the vectors as stored; NaN where there is none.
        encode_texts: float32 [M, dim] of M texts by the table's encoder, L2-normalised.
    """

    columns: Mapping[str, Sequence[Any]]
    vectors: npt.NDArray[np.float64]
    encode_texts: TextEncoder


class Scorer(Protocol):
    """One kind of score. It has no state: a rule says all it needs."""

    parameters: frozenset[str]
    """Keys of a rule, beyond name, score and bounds, that this scorer reads."""

    needs_text: bool
    """Whether it calls the encoder's text tower."""

    needs_caption: bool
    """Whether it reads the caption column."""

    def columns(self, rule: Rule) -> list[str]:
        """Names of the float32 columns it adds to the table."""
        ...

    def score(self, rule: Rule, evidence: Evidence) -> dict[str, Floats]:
        """The score the bounds compare, float32 [N] under key `rule.name`, and every added column; NaN is null."""
        ...
