"""What one rule found in one row: its score, its bounds, and how far apart they are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from clipflow.policy.verdict import stored_scores
from clipflow.spec import PolicySpec, Rule


@dataclass(frozen=True)
class Finding:
    """One rule and one row.

    Attributes:
        value: The stored float32 score; None where there is none, which fires nothing.
    """

    rule: Rule
    value: float | None

    @property
    def distances(self) -> dict[str, float]:
        """By bound, how much further the score may move before the bound fires; negative where it has fired.

        Both sides are float32, as the judge compares them; the difference of two is exact in float64.
        """
        if self.value is None:
            return {}
        rounded = {key: float(np.float32(bound)) for key, bound in self.rule.bounds.items()}
        return {
            key: bound - self.value if key.endswith("above") else self.value - bound for key, bound in rounded.items()
        }

    @property
    def fired(self) -> list[str]:
        """The bounds that the score is beyond, strictly."""
        return [key for key, distance in self.distances.items() if distance < 0]

    def document(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "rule": self.rule.name,
            "score": self.rule.score,
            "value": self.value,
            "bounds": self.rule.bounds,
            "fired": self.fired,
            "distance": self.distances,
        }


def findings(policy: PolicySpec, rows: pa.Table) -> list[list[Finding]]:
    """For each of N rows what every rule found, rules sorted by name."""
    scores = stored_scores(policy, rows)
    rules = sorted(policy.rules, key=lambda rule: rule.name)
    values = {name: [None if np.isnan(value) else float(value) for value in found] for name, found in scores.items()}
    return [[Finding(rule, values[rule.name][row]) for rule in rules] for row in range(len(rows))]
