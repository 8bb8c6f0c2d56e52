"""Rules as detectors of what people rejected: who is right how often."""

from typing import Any

from clipflow.audit.groups import ANY
from clipflow.audit.view import Rows, View
from clipflow.audit.wilson import share
from clipflow.spec import Rule


def policy_errors(labelled: View) -> dict[str, Any]:
    """Of the rules together, with `false_accepts`: rows they accept, not only send to review, and a person rejected."""
    row = labelled.one(
        f"SELECT {_counts('ruled = ' + _REJECTED, 'x')}, "
        f"count(*) FILTER (WHERE ruled = 'accepted' AND human = 'rejected') AS passed FROM {{view}}"
    )
    found = errors(row, "x")
    return {**found, "false_accepts": share(row["passed"], found["tp"] + found["fn"])}


def rule_errors(labelled: View, rule: Rule, kind: str) -> dict[str, Any]:
    """Of one rule's bounds of the kind `reject` or `review`."""
    return errors(labelled.one(f"SELECT {_counts(f'{kind}_{rule.name}', 'x')} FROM {{view}}"), "x")


def confusion_by_group(labelled: View, min_group: int) -> tuple[Rows, Rows]:
    """Per column, value and rule, `*` first, its errors; and what is suppressed, as in `audit.groups`."""
    detectors = [(ANY, f"ruled = {_REJECTED}"), *((r.name, f"reject_{r.name}") for r in labelled.policy.rules)]
    counts = ", ".join(_counts(fired, f"d{at}") for at, (_, fired) in enumerate(detectors))
    shown: Rows = []
    suppressed: Rows = []
    for name, column in labelled.groups:
        found = labelled.ask(
            f"SELECT {column} AS value, count(*) AS n, {counts} FROM {{view}} GROUP BY {column} "
            "ORDER BY n DESC, value NULLS LAST"
        )
        small = [row["n"] for row in found if row["n"] < min_group]
        if small:
            suppressed.append({"column": name, "value": None, "suppressed_groups": len(small), "n": sum(small)})
        for row in found[: len(found) - len(small)]:
            for at, (rule, _) in enumerate(detectors):
                group = {"column": name, "value": row["value"], "rule": rule, "n": row["n"]}
                shown.append({**group, **errors(row, f"d{at}")})
    return shown, suppressed


def errors(row: dict[str, Any], name: str) -> dict[str, Any]:
    """{tp, fp, fn, tn, precision, recall, false_rejects}, the last three as shares with their intervals.

    Positive is what a person rejected; `false_rejects` is the share that fires among what people accepted.
    """
    tp, fp, fn, tn = (row[f"{name}_{cell}"] for cell in _CELLS)
    shares = {"precision": share(tp, tp + fp), "recall": share(tp, tp + fn), "false_rejects": share(fp, fp + tn)}
    return {"tp": tp, "fp": fp, "fn": fn, "tn": tn, **shares}


_CELLS = ("tp", "fp", "fn", "tn")
_REJECTED = "'rejected'"


def _counts(fired: str, name: str) -> str:
    cells = zip(_CELLS, (("", "="), ("", "<>"), ("NOT ", "="), ("NOT ", "<>")), strict=True)
    return ", ".join(
        f"count(*) FILTER (WHERE {no}({fired}) AND human {sign} 'rejected') AS {name}_{cell}"
        for cell, (no, sign) in cells
    )
