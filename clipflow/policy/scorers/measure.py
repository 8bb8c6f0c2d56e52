"""A pixel measure as a score: the column is in the table already."""

import numpy as np

from clipflow.policy.scorers.base import Evidence, Floats
from clipflow.spec import Rule


class Measure:
    """Reads one column of `schema.MEASURES`."""

    parameters: frozenset[str] = frozenset()
    needs_text = False
    needs_caption = False

    def __init__(self, column: str) -> None:
        self._column = column

    def columns(self, rule: Rule) -> list[str]:
        """None: the measure stands in its own column."""
        return []

    def score(self, rule: Rule, evidence: Evidence) -> dict[str, Floats]:
        """The measure, float32 [N]; NaN where the image was not decoded."""
        values = [np.nan if value is None else value for value in evidence.columns[self._column]]
        return {rule.name: np.asarray(values, np.float32)}
