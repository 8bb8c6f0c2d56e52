"""What an evaluation found, as plain data and as text."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from tabulate import tabulate

from clipflow.audit.groups import ANY
from clipflow.audit.report import interval, label
from clipflow.audit.view import Rows


@dataclass
class Evaluation:
    """A policy compared with people, over the labels that have a row which did not fail.

    Attributes:
        labels: Images that were labelled, `repeated` and `contradictory` ones aside.
        matched: Of them those with a row that did not fail; `failed` those whose row did.
        confusion: [{human, policy, n}] by verdict.
        overall: The rules together, see `audit.confusion`.
        rules: Per rule {reject, review, curves, thresholds}.
    """

    table: str
    version: int
    labels: int
    repeated: int
    contradictory: int
    matched: int
    failed: int
    confusion: Rows
    overall: dict[str, Any]
    by: list[str]
    min_group: int
    groups: Rows
    suppressed: Rows
    rules: Rows
    max_false_reject: float | None

    @property
    def unmatched(self) -> int:
        """Labels without a row."""
        return self.labels - self.matched - self.failed

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow evaluate --json`."""
        return {**asdict(self), "unmatched": self.unmatched}

    def text(self) -> str:
        """As tables for people."""
        return "\n".join(_lines(self))


def _lines(found: Evaluation) -> Iterator[str]:
    left_out = [f"{found.unmatched} not in the table", f"{found.failed} failed", f"{found.contradictory} contradictory"]
    yield f"{found.labels} labelled images: {found.matched} matched, {', '.join(left_out)}"
    whole = found.overall
    yield f"false rejects: {_of(whole['false_rejects'])} that people accepted"
    yield f"false accepts: {_of(whole['false_accepts'])} that people rejected"
    cells = {(row["human"], row["policy"]): row["n"] for row in found.confusion}
    policies = ("accepted", "review", "rejected")
    grid = [
        [f"people {who}", *(cells.get((who, policy), 0) for policy in policies)] for who in ("accepted", "rejected")
    ]
    yield "\n" + tabulate(grid, headers=["", *(f"rules {policy}" for policy in policies)])
    detectors = [_detector(rule["rule"], kind, rule) for rule in found.rules for kind in ("reject", "review")]
    if rows := [row for row in detectors if row]:
        yield "\n" + tabulate(rows, headers="keys", disable_numparse=True)
    if found.by:
        yield from _group_lines(found)
    if kept := [_threshold(rule["rule"], one) for rule in found.rules for one in rule["thresholds"]]:
        yield f"\nbounds that lose at most {100 * (found.max_false_reject or 0):g} % of what people accepted"
        yield tabulate(kept, headers="keys", disable_numparse=True)
        yield "chosen on these labels: confirm them on others"
    yield f"\ntable {found.table}, version {found.version}"


def _group_lines(found: Evaluation) -> Iterator[str]:
    rows = [
        {
            "by": group["column"],
            "group": label(group["value"]),
            "labels": group["n"],
            **_shares(group),
        }
        for group in found.groups
        if group["rule"] == ANY
    ]
    if rows:
        yield "\n" + tabulate(rows, headers="keys", disable_numparse=True)
        yield "all rules together; rule by rule with --json"
    for one in found.suppressed:
        yield (
            f"{one['column']}: {one['suppressed_groups']} of fewer than {found.min_group} labels not shown, "
            f"{one['n']} labels"
        )


def _detector(rule: str, kind: str, entry: dict[str, Any]) -> dict[str, Any] | None:
    if entry[kind] is None:
        return None
    areas = ", ".join(f"{one['average_precision']:.3f}" for one in entry["curves"] if one["average_precision"])
    return {"rule": rule, "bounds": kind, **_shares(entry[kind]), "average precision": areas or "-"}


def _shares(errors: dict[str, Any]) -> dict[str, str]:
    names = {"precision": "precision", "recall": "recall", "false_rejects": "false rejects"}
    return {shown: _of(errors[key]) for key, shown in names.items()}


def _threshold(rule: str, one: dict[str, Any]) -> dict[str, Any]:
    return {
        "rule": rule,
        "bound": one["bound"],
        "now": f"{one['value']:g}",
        "could be": _bound(one),
        "false rejects": _of(one["false_rejects"]),
        "catches": _of(one["caught"]),
        "verdicts moved": "-" if one["moved"] is None else one["moved"],
    }


def _bound(one: dict[str, Any]) -> str:
    if one["threshold"] is not None:
        return f"{one['threshold']:.9g}"
    return "anything" if one["false_rejects"]["n"] else "unknown"


def _of(counted: dict[str, Any]) -> str:
    return f"{counted['k']} of {counted['n']}, {interval(counted)}"
