"""What an audit found, as plain data and as text."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from clipflow.audit.groups import ANY, Bounds
from clipflow.audit.view import Rows
from clipflow.errors import AuditFailed

STATUSES = ("accepted", "review", "rejected", "failed")

WORST = 20
"""So many groups of a column, the highest rates first, stand in the text; the document has all."""


@dataclass
class AuditReport:
    """An audit of one version of a table.

    Attributes:
        statuses: Rows by status.
        overall: {n, removed, rate, low, high} of all rows not failed; review, not_shown (rejected or review) and
            its `not_shown_` rate, low and high.
        groups: See `audit.groups`; `suppressed` too.
        rules: See `audit.rules`.
        unjudged: Rows that another policy judged than the table's.
        against: See `audit.against`; None when nothing was compared.
        fail_if: {expression, holds}; None when nothing was asked.
    """

    table: str
    version: int
    statuses: dict[str, int]
    overall: dict[str, Any]
    bounds: Bounds
    by: list[str]
    groups: Rows
    suppressed: Rows
    rules: Rows
    reasons: dict[str, int]
    failures: dict[str, int]
    people: dict[str, Any]
    duplicates: Rows
    policy: dict[str, Any]
    unjudged: int
    encoder: dict[str, Any]
    windows: Rows
    runs: dict[str, Any]
    against: dict[str, Any] | None = None
    fail_if: dict[str, Any] | None = None

    @property
    def rows(self) -> int:
        """All rows of the table."""
        return sum(self.statuses.values())

    @property
    def flagged(self) -> Rows:
        """Groups that are flagged, the greatest ratio first."""
        return sorted((group for group in self.groups if group["flagged"]), key=lambda group: -group["ratio"])

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow audit --json`."""
        return {
            "table": self.table,
            "version": self.version,
            "rows": self.rows,
            **self.statuses,
            "unjudged": self.unjudged,
            "flagged": len(self.flagged),
            "fail_if": self.fail_if,
            "overall": self.overall,
            "by": self.by,
            "bounds": [self.bounds.low, self.bounds.high],
            "min_group": self.bounds.min_group,
            "groups": self.groups,
            "suppressed": self.suppressed,
            "rules": self.rules,
            "reasons": self.reasons,
            "failures": self.failures,
            "people": self.people,
            "duplicates": self.duplicates,
            "against": self.against,
            "policy": self.policy,
            "encoder": self.encoder,
            "windows": self.windows,
            "runs": self.runs,
        }

    def check(self) -> None:
        """Raises AuditFailed when the condition holds."""
        if self.fail_if is None or not self.fail_if["holds"]:
            return
        worst = [f"{at['column']} {label(at['value'])}, {at['rule']}: {at['ratio']:.2f}" for at in self.flagged[:3]]
        error = AuditFailed(
            f"The condition of --fail-if holds for {self.table}: {self.fail_if['expression']}.",
            f"Highest ratios that are flagged: {'; '.join(worst)}." if worst else "The report has the figures.",
        )
        error.report = self.document()
        raise error

    def text(self) -> str:
        """As tables for people."""
        return "\n".join(_lines(self))


def label(value: Any) -> str:
    """A group's value as people read it: `(none)` is a row without one.

    A text that begins with a bracket, a quote or a blank, or is empty, stands in quotes, so that it is never mistaken.
    """
    if value is None:
        return "(none)"
    text = str(value)
    plain = text and text[0] not in '("' and text == text.strip() and text.isprintable()
    return text if plain else json.dumps(text, ensure_ascii=False)


def percent(rate: float | None, digits: int = 1) -> str:
    """A share as people read it; a dash where there is none."""
    return "-" if rate is None else f"{100 * rate:.{digits}f} %"


def interval(entry: dict[str, Any], kind: str = "") -> str:
    """A rate with its interval; `kind` is what stands before its keys."""
    if entry[f"{kind}rate"] is None:
        return "-"
    return f"{percent(entry[f'{kind}rate'])} ({100 * entry[f'{kind}low']:.1f} to {100 * entry[f'{kind}high']:.1f})"


def _lines(report: AuditReport) -> Iterator[str]:
    counts = ", ".join(f"{n} {status}" for status, n in report.statuses.items())
    yield f"{report.rows} rows: {counts}"
    yield f"removed: {interval(report.overall)} of {report.overall['n']} that did not fail, 95 % interval"
    hidden = interval(report.overall, "not_shown_")
    yield f"not shown: {hidden}, with the {report.overall['review']} that wait for review"
    if report.unjudged:
        yield f"{report.unjudged} rows were judged by another policy: run `clipflow judge`"
    if report.rules:
        yield "\n" + _table(_rule_cells(report.rules))
    if report.by:
        yield from _group_lines(report)
    people = report.people
    yield f"\npeople reviewed {people['reviewed']} rows; {people['queue']} wait in the queue"
    if people["reviewed"]:
        yield f"  accepted though a rule rejects: {_of(people['false_rejects'])}"
        yield f"  rejected though no rule rejects: {_of(people['false_accepts'])}"
    for found in report.duplicates:
        sizes = ", ".join(map(str, found["largest"])) or "none"
        yield f"\n{found['rule']}: {found['pointing']} duplicates in {found['clusters']} clusters, largest {sizes}"
    if report.failures:
        yield "\nfailures: " + ", ".join(f"{code} {n}" for code, n in report.failures.items())
    if report.against:
        yield from _against_lines(report.against)
    if report.fail_if:
        said = {True: "holds", False: "does not hold", None: "cannot be decided: it is null"}[report.fail_if["holds"]]
        yield f"\n--fail-if {report.fail_if['expression']}: {said}"
    yield f"\ntable {report.table}, version {report.version}"


def _group_lines(report: AuditReport) -> Iterator[str]:
    for column in report.by:
        rows = list(pivot(report.groups, column))
        if rows:
            yield "\n" + _table([_group_cells(column, entries) for entries in rows[:WORST]])
        if len(rows) > WORST:
            yield f"and {len(rows) - WORST} more groups; see --json or --html"
        for one in report.suppressed:
            if one["column"] == column:
                groups = f"{one['suppressed_groups']} groups" if one["suppressed_groups"] > 1 else "1 group"
                yield f"{groups} of fewer than {report.bounds.min_group} rows not shown, {one['n']} rows"
    low, high = report.bounds.low, report.bounds.high
    yield "not shown = rejected or in review"
    yield "xN = N times the overall rate of that rule; the first columns are of all rules together"
    yield f"! = not between {low:g} and {high:g} times it, and the interval of the rate excludes it"


def pivot(groups: Rows, column: str) -> Iterator[Rows]:
    """The entries of a column group by group, the highest rate of removal first; by rule in the order they have."""
    found: dict[Any, Rows] = {}
    for group in groups:
        if group["column"] == column:
            found.setdefault(group["value"], []).append(group)
    yield from sorted(found.values(), key=lambda entries: -entries[0]["rate"])


def _group_cells(column: str, entries: Rows) -> dict[str, Any]:
    whole, *rules = entries
    cells = {column: label(whole["value"]), "rows": whole["n"], "removed": whole["removed"]}
    cells |= {"rate (95 %)": interval(whole), "ratio": _ratio(whole)}
    cells |= {
        "review": whole["review"],
        "not shown": f"{percent(whole['not_shown_rate'])} {_ratio(whole, 'not_shown_')}",
    }
    return cells | {rule["rule"]: f"{percent(rule['rate'])} {_ratio(rule)}" for rule in rules}


def _ratio(group: dict[str, Any], kind: str = "") -> str:
    ratio = "" if group[f"{kind}ratio"] is None else f"x{group[f'{kind}ratio']:.2f}"
    return f"{ratio} !" if group[f"{kind}flagged"] else ratio


def _rule_cells(rules: Rows) -> Rows:
    return [
        {
            "rule": rule["rule"],
            "score": rule["score"],
            "bounds": ", ".join(f"{key} {bound:g}" for key, bound in rule["bounds"].items()),
            "scored": rule["scored"],
            "rejects": rule["reject"],
            "reviews": rule["review"],
            "removed (95 %)": interval({**rule, "rate": rule["reject_rate"]}),
        }
        for rule in rules
    ]


def _against_lines(against: dict[str, Any]) -> Iterator[str]:
    if against["kind"] == "run":
        yield f"\nsince run {against['run_id']} (version {against['version']})"
    else:
        yield f"\nunder policy {against['policy_id'][:12]}"
    moves = [move for move in against["moved"] if move["from"] != move["to"]]
    yield from (f"  {move['n']} rows: {move['from'] or 'not there'} to {move['to'] or 'not there'}" for move in moves)
    if not moves:
        yield "  no verdict moves"
    for rule in against["rules"]:
        yield f"  {'any rule' if rule['rule'] == ANY else rule['rule']}: {_change(rule, 'rate')}"
        if rule["rule"] == ANY:
            yield f"  not shown: {_change(rule, 'not_shown_rate')}"


def _change(rule: dict[str, Any], rate: str) -> str:
    before, after = (percent(side[rate]) if side else "-" for side in (rule["from"], rule["to"]))
    return f"{before} to {after}"


def _of(counted: dict[str, Any]) -> str:
    return f"{counted['k']} of {counted['n']}, {interval(counted)}"


def _table(rows: Sequence[dict[str, Any]]) -> str:
    return tabulate(rows, headers="keys", disable_numparse=True)
