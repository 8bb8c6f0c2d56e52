"""The judge: scores and bounds in, status and reasons out. Run and re-judge use these functions, and no others."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from clipflow.encoders.info import EncoderInfo
from clipflow.policy.scorers import find_scorer
from clipflow.policy.scorers.base import Evidence, Floats, TextEncoder, nothing
from clipflow.spec import PolicySpec, Rule

_ORDER = {"row": 0, "table": 1, "derived": 2}

Prepared = Mapping[str, Any]
"""By rule name, what its scorer made ready for a run."""


def prepare(policy: PolicySpec, info: EncoderInfo, encode_texts: TextEncoder) -> dict[str, Any]:
    """Make every rule ready: labels are encoded and weights are read here, once a run."""
    return {rule.name: find_scorer(rule.score, rule.name).prepare(rule, info, encode_texts) for rule in policy.rules}


def score(
    policy: PolicySpec, prepared: Prepared, evidence: Evidence, known: Mapping[str, Floats] | None = None
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Score a batch of N rows.

    Args:
        prepared: See `prepare`.
        known: Columns that were scored before, such as duplicates, or that the table holds; taken as they are.

    Returns:
        The score of every rule by rule name, and every column to store by column name; float32 [N], NaN is null.
        A rule of the level `table` that is not known has no score yet.
    """
    columns: dict[str, Floats] = dict(known or {})
    by_rule: dict[str, Floats] = {}
    for rule in sorted(policy.rules, key=lambda rule: _ORDER[find_scorer(rule.score, rule.name).level]):
        scorer = find_scorer(rule.score, rule.name)
        own = scorer.columns(rule)
        if own and columns.keys() >= set(own):
            by_rule[rule.name] = columns[own[0]]
        elif scorer.level == "table":
            by_rule[rule.name] = nothing(evidence)
            columns |= {name: nothing(evidence) for name in own}
        else:
            found = scorer.score(rule, prepared.get(rule.name), replace(evidence, scores=columns))
            by_rule[rule.name] = next(iter(found.values()))
            columns |= {name: found[name] for name in own}
    return by_rule, columns


def judge(
    policy: PolicySpec,
    scores: Mapping[str, Floats],
    failures: Sequence[str | None],
    standing: Sequence[str | None] | None = None,
    reviews: Sequence[str | None] | None = None,
) -> tuple[list[str], list[list[str]]]:
    """Verdicts of N rows.

    Args:
        scores: float32 [N] by rule name; NaN fires nothing.
        failures: The failure code of each row, None where there is a vector.
        standing: A reason beside the rules that rejects the row, `source_deleted`; None where there is none.
        reviews: A human's verdict, which outranks all but a failure; None where there is none.

    Returns:
        Statuses and reasons. A failed row's one reason is its code; else failed < rejected < review < accepted
        by the strongest rule that fires, with the names of all that fire, sorted.
    """
    statuses = ["accepted" if code is None else "failed" for code in failures]
    reasons: list[list[str]] = [[] if code is None else [code] for code in failures]
    for rule in policy.rules:
        rejects, reviewed = (fires(rule, scores[rule.name], kind) for kind in ("reject", "review"))
        for row in np.flatnonzero(rejects | reviewed).tolist():
            if failures[row] is None:
                reasons[row].append(rule.name)
                if rejects[row]:
                    statuses[row] = "rejected"
                elif statuses[row] == "accepted":
                    statuses[row] = "review"
    for row, reason in enumerate(standing or ()):
        if reason is not None and failures[row] is None:
            reasons[row].append(reason)
            statuses[row] = "rejected"
    for row, verdict in enumerate(reviews or ()):
        if verdict is not None and failures[row] is None:
            statuses[row] = verdict
    return statuses, [sorted(names) for names in reasons]


def fires(rule: Rule, scores: Floats, kind: str) -> np.ndarray:
    """Bool [N]: strictly beyond a bound of the kind `reject` or `review`, both sides float32."""
    below, above = rule.bounds.get(f"{kind}_below"), rule.bounds.get(f"{kind}_above")
    fired = np.zeros(len(scores), bool)
    if below is not None:
        fired |= scores < np.float32(below)
    if above is not None:
        fired |= scores > np.float32(above)
    return fired
