"""The judge: scores and bounds in, status and reasons out. Run and re-judge use this one function."""

from collections.abc import Mapping, Sequence

import numpy as np

from clipflow.policy.scorers import find_scorer
from clipflow.policy.scorers.base import Evidence, Floats
from clipflow.spec import PolicySpec, Rule


def score(policy: PolicySpec, evidence: Evidence) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Score a batch.

    Returns:
        The score of every rule by rule name, and every column to store by column name; float32 [N], NaN is null.
    """
    by_rule: dict[str, Floats] = {}
    columns: dict[str, Floats] = {}
    for rule in policy.rules:
        scorer = find_scorer(rule.score, rule.name)
        found = scorer.score(rule, evidence)
        by_rule[rule.name] = found[rule.name]
        columns |= {name: found[name] for name in scorer.columns(rule)}
    return by_rule, columns


def judge(
    policy: PolicySpec, scores: Mapping[str, Floats], failures: Sequence[str | None]
) -> tuple[list[str], list[list[str]]]:
    """Verdicts of N rows.

    Args:
        scores: float32 [N] by rule name; NaN fires nothing.
        failures: The failure code of each row, None where there is a vector.

    Returns:
        Statuses and reasons. A failed row's one reason is its code; else failed < rejected < review < accepted
        by the strongest rule that fires, with the names of all that fire, sorted.
    """
    statuses = ["accepted" if code is None else "failed" for code in failures]
    reasons: list[list[str]] = [[] if code is None else [code] for code in failures]
    for rule in sorted(policy.rules, key=lambda rule: rule.name):
        rejects, reviews = (fires(rule, scores[rule.name], kind) for kind in ("reject", "review"))
        for row in np.flatnonzero(rejects | reviews).tolist():
            if failures[row] is None:
                reasons[row].append(rule.name)
                if rejects[row]:
                    statuses[row] = "rejected"
                elif statuses[row] == "accepted":
                    statuses[row] = "review"
    return statuses, reasons


def fires(rule: Rule, scores: Floats, kind: str) -> np.ndarray:
    """Bool [N]: strictly beyond a bound of the kind `reject` or `review`, both sides float32."""
    below, above = rule.bounds.get(f"{kind}_below"), rule.bounds.get(f"{kind}_above")
    fired = np.zeros(len(scores), bool)
    if below is not None:
        fired |= scores < np.float32(below)
    if above is not None:
        fired |= scores > np.float32(above)
    return fired
