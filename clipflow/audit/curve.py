"""Precision and recall of one score over all its thresholds, and the threshold that keeps a promise."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from clipflow.audit.wilson import share
from clipflow.policy.scorers.base import Floats

POINTS = 200
"""So many points of a curve are kept; the average precision is of all."""


def curve(scores: Floats, rejected: np.ndarray, *, above: bool) -> dict[str, Any]:
    """{side, average_precision, points[]} of a score as a detector of what people rejected.

    A point rejects every score beyond and at `score`, and has {score, precision, recall}; the average precision is
    the sum of precision times the step in recall, without interpolation.

    Args:
        scores: float32 [N]; NaN fires nothing, and lowers recall where a person rejected.
        rejected: bool [N], what people rejected.
        above: Whether high scores are rejected, or low ones.
    """
    here = ~np.isnan(scores)
    order = np.argsort(-scores[here] if above else scores[here], kind="stable")
    values, hits = scores[here][order], rejected[here][order]
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True)) if len(values) else np.zeros(0, int)
    caught = np.cumsum(hits)[ends]
    positives = int(rejected.sum())
    precision = caught / (ends + 1)
    recall = caught / positives if positives else np.full(len(ends), np.nan)
    average = float((precision * np.diff(recall, prepend=0.0)).sum()) if positives else None
    kept = np.unique(np.linspace(0, len(ends) - 1, min(POINTS, len(ends))).astype(int))
    points = [
        {
            "score": float(values[ends[at]]),
            "precision": float(precision[at]),
            "recall": float(recall[at]) if positives else None,
        }
        for at in kept
    ]
    return {"side": "above" if above else "below", "average_precision": average, "points": points}


def threshold(scores: Floats, rejected: np.ndarray, most: float, *, above: bool) -> dict[str, Any]:
    """The bound that rejects most while at most a share `most` of what people accepted lies beyond it.

    With k accepted rows that may be lost it is the score of the next one: a rule fires strictly beyond its bound, so
    that one stays. `threshold` is None where every score may lie beyond. {threshold, false_rejects, caught}, each
    share with its 95 % interval; the bound is chosen on these very labels, so labels of another draw may say more.
    """
    accepted = np.sort(scores[~rejected & ~np.isnan(scores)])
    accepted = accepted[::-1] if above else accepted
    may_be_lost = allowed(most, int((~rejected).sum()))
    limit = float(accepted[may_be_lost]) if may_be_lost < len(accepted) else None
    beyond = ~np.isnan(scores) if limit is None else scores > limit if above else scores < limit
    return {
        "threshold": limit,
        "false_rejects": share(int((beyond & ~rejected).sum()), int((~rejected).sum())),
        "caught": share(int((beyond & rejected).sum()), int(rejected.sum())),
    }


def allowed(most: float, accepted: int) -> int:
    """The greatest k with k / accepted <= most, whatever the product of the two is rounded to."""
    near = int(most * accepted)
    candidates: Sequence[int] = [k for k in (near - 1, near, near + 1) if 0 <= k <= accepted]
    return max((k for k in candidates if not accepted or k / accepted <= most), default=0)
