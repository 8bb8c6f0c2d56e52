"""What would change a verdict: the bounds that scores would have to cross, and nothing that is not in the row."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from clipflow.policy.finding import Finding

_GRAVITY = ("review", "reject")
_STATUS = {"review": "review", "reject": "rejected"}


def would_change(found: Sequence[Finding], status: str) -> list[dict[str, Any]]:
    """The ways from a verdict of the rules to the others.

    Args:
        found: What every rule found.
        status: What the rules say of the row: accepted, review or rejected.

    Returns:
        Of each way `to` (a status), `if` (a phrase) and `conditions`, every one of {rule, score, value, must, bound}
        where `must` is one of `<=`, `>=`, `<`, `>`. All conditions of one way must hold; of the ways to a graver
        status, which each need one rule only, the nearest bound of every rule is named.
    """
    fired = [finding for finding in found if finding.fired]
    ways = []
    if status == "rejected" and any(_reviews_at_its_reject_bound(finding) for finding in fired):
        ways.append(_way("review", [_back(finding, "reject") for finding in fired if _fires(finding, "reject")]))
    if status != "accepted":
        ways.append(_way("accepted", [_back(finding, "review") for finding in fired]))
    if status != "rejected":
        ways += [_way(*beyond) for finding in found for beyond in _graver(finding, status)]
    return ways


def _fires(finding: Finding, kind: str) -> bool:
    return any(key.startswith(kind) for key in finding.fired)


def _side(finding: Finding) -> str:
    """A rule's bounds ascend, so it fires on one side only."""
    return finding.fired[0].partition("_")[2]


def _reviews_at_its_reject_bound(finding: Finding) -> bool:
    """Whether the rule would still ask for a review if it just did not reject."""
    bounds, side = finding.rule.bounds, _side(finding)
    if f"review_{side}" not in bounds:
        return False
    if not _fires(finding, "reject"):
        return True
    return bool(np.float32(bounds[f"review_{side}"]) != np.float32(bounds[f"reject_{side}"]))


def _back(finding: Finding, kind: str) -> dict[str, Any]:
    """The condition under which the rule fires no bound of this kind, or of a graver one."""
    side = _side(finding)
    keys = [f"{name}_{side}" for name in _GRAVITY[_GRAVITY.index(kind) :]]
    bounds = [bound for key in keys if (bound := finding.rule.bounds.get(key)) is not None]
    below = side == "below"
    return _condition(finding, ">=" if below else "<=", max(bounds) if below else min(bounds))


def _graver(finding: Finding, status: str) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    """The nearest bound of the rule that makes the verdict graver than it is; none for a rule without a score."""
    kinds = _GRAVITY if status == "accepted" else ("reject",)
    ahead = {
        key: distance for key, distance in finding.distances.items() if distance >= 0 and key.partition("_")[0] in kinds
    }
    if not ahead:
        return
    # Where a review bound equals a reject bound the graver one decides.
    key = min(ahead, key=lambda key: (ahead[key], key))
    kind, _, side = key.partition("_")
    yield _STATUS[kind], [_condition(finding, "<" if side == "below" else ">", finding.rule.bounds[key])]


def _condition(finding: Finding, must: str, bound: float) -> dict[str, Any]:
    return {
        "rule": finding.rule.name,
        "score": finding.rule.score,
        "value": finding.value,
        "must": must,
        "bound": bound,
    }


def _way(to: str, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    phrase = " and ".join(f"{one['rule']} {one['must']} {one['bound']:g}" for one in conditions)
    return {"to": to, "if": phrase, "conditions": conditions}
