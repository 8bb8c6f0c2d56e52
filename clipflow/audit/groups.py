"""Rates of removal, and of what is not shown, by group and rule."""

from typing import Any, NamedTuple

from clipflow.audit.view import Rows, View
from clipflow.audit.wilson import wilson

ANY = "*"
"""The rule that stands for all of them, and for people: the row's status counts."""

KINDS = ("removed", "not_shown")
"""What is counted: for a rule a reject bound, or any bound fires; for `*` rejected rows, or rejected or review."""


class Bounds(NamedTuple):
    """What is flagged, and what is too small to be shown.

    Attributes:
        low, high: A group is flagged when its rate divided by the overall rate lies outside, and the interval
            of its rate does not hold the overall rate. 0.8 is the four-fifths rule, by which United States
            agencies take a selection rate below four fifths of another as evidence of adverse impact (Uniform
            Guidelines on Employee Selection Procedures, 29 CFR 1607.4 D, 1978); 1.25 is its reciprocal.
        min_group: Groups of fewer rows are suppressed. Below 20 the 95 % interval of a rate of one half is
            wider than 0.4, so no such ratio could be told from 1; and few rows may be one person's.
    """

    low: float = 0.8
    high: float = 1.25
    min_group: int = 20


FOUR_FIFTHS = Bounds()
"""The bounds unless others are stated."""


def rates(view: View) -> dict[str, dict[str, Any]]:
    """Over all rows, by rule: {n, removed, not_shown}; n = rows not failed."""
    row = view.one(f"SELECT {_counts(view)} FROM {{view}} WHERE status <> 'failed'")
    return {rule: _counted(row, at) for rule, at in _rules(view)}


def groups(view: View, bounds: Bounds) -> tuple[Rows, Rows]:
    """What the document calls `groups` and `suppressed`: by column the largest group first, by group `*` first."""
    overall = rates(view)
    shown: Rows = []
    suppressed: Rows = []
    for name, column in view.groups:
        found = view.ask(
            f"SELECT {column} AS value, {_counts(view)} FROM {{view}} WHERE status <> 'failed' "
            f"GROUP BY {column} ORDER BY n DESC, value NULLS LAST"
        )
        small = [row for row in found if row["n"] < bounds.min_group]
        if small:
            rows = sum(row["n"] for row in small)
            suppressed.append({"column": name, "value": None, "suppressed_groups": len(small), "n": rows})
        for row in found[: len(found) - len(small)]:
            for rule, at in _rules(view):
                counted = _counted(row, at)
                entry = {"column": name, "value": row["value"], "rule": rule, "n": row["n"]}
                entry |= {"removed": counted["removed"], **compared(counted, overall[rule], bounds, "removed")}
                hidden = compared(counted, overall[rule], bounds, "not_shown")
                entry |= {"review": counted["not_shown"] - counted["removed"], "not_shown": counted["not_shown"]}
                shown.append(entry | {f"not_shown_{key}": value for key, value in hidden.items()})
    return shown, suppressed


def compared(counted: dict[str, Any], overall: dict[str, Any], bounds: Bounds, kind: str) -> dict[str, Any]:
    """{rate, low, high, ratio, flagged} of one of `KINDS` in a group that holds at least one row."""
    n = counted["n"]
    rate, whole = counted[kind] / n, overall[kind] / overall["n"]
    low, high = wilson(counted[kind], n)
    assert low is not None
    assert high is not None
    ratio = rate / whole if whole else None
    beyond = ratio is not None and not bounds.low <= ratio <= bounds.high
    return {"rate": rate, "low": low, "high": high, "ratio": ratio, "flagged": beyond and not low <= whole <= high}


def _rules(view: View) -> list[tuple[str, str]]:
    """Every rule, `*` first, with the end of its columns' names."""
    return [(ANY, ""), *((rule.name, f"_{rule.name}") for rule in view.policy.rules)]


def _counted(row: dict[str, Any], at: str) -> dict[str, Any]:
    return {"n": row["n"], **{kind: row[f"{kind}{at}"] for kind in KINDS}}


def _counts(view: View) -> str:
    conditions = {"removed": "status = 'rejected'", "not_shown": "status IN ('rejected', 'review')"}
    for rule in view.policy.rules:
        conditions[f"removed_{rule.name}"] = f"reject_{rule.name}"
        conditions[f"not_shown_{rule.name}"] = f"reject_{rule.name} OR review_{rule.name}"
    counts = (f"count(*) FILTER (WHERE {condition}) AS {name}" for name, condition in conditions.items())
    return ", ".join(["count(*) AS n", *counts])
