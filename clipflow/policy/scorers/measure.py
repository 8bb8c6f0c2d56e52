"""A pixel measure as a score: the column is in the table already."""

from typing import Any

import numpy as np

from clipflow.policy.scorers.base import Evidence, Floats, Scorer
from clipflow.spec import Rule


class Measure(Scorer):
    """Reads one column of `schema.MEASURES`."""

    def __init__(self, column: str) -> None:
        self._column = column

    def reads(self, rule: Rule) -> frozenset[str]:
        """The measure."""
        return frozenset({self._column})

    def columns(self, rule: Rule) -> list[str]:
        """None: the measure stands in its own column."""
        return []

    def score(self, rule: Rule, prepared: Any, evidence: Evidence) -> dict[str, Floats]:
        """The measure, float32 [N]; NaN where the image was not decoded."""
        values = evidence.rows.column(self._column).to_numpy()
        return {self._column: values.astype(np.float32)}
