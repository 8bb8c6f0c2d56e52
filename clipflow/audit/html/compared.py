"""The part of the page about another state of the table."""

from typing import Any

from clipflow.audit.groups import ANY
from clipflow.audit.html.groups import LISTED
from clipflow.audit.html.tags import Html, section, table, tag
from clipflow.audit.report import STATUSES, AuditReport, label, percent
from clipflow.audit.view import Rows


def compared(report: AuditReport) -> Html | None:
    """The other state, side by side."""
    found = report.against
    if found is None:
        return None
    if found["kind"] == "run":
        what = f"From the table as run {found['run_id']} left it (version {found['version']}) to this one."
    else:
        what = f"From this table to what it would be under policy {found['policy_id']}."
    rules = [("any" if one["rule"] == ANY else one["rule"], *_sides(one)) for one in found["rules"]]
    differ = [one for one in found["groups"] if one["rule"] == ANY or one["difference"]]
    groups = [
        (f"{one['column']}: {label(one['value'])}", "any" if one["rule"] == ANY else one["rule"], *_sides(one))
        for one in sorted(differ, key=lambda one: -abs(one["difference"] or 0))[:LISTED]
    ]
    about = f"Removal by group, the greatest difference first; at most {LISTED} lines, the JSON has all"
    headers = ["group", "rule", "from", "to", "difference"]
    return section(
        "Compared",
        tag("p", what),
        _matrix(found["moved"]),
        table(["rule", "from", "to", "difference"], rules, "Removal by rule"),
        table(headers, groups, about, words=2) if groups else None,
    )


def _matrix(moved: Rows) -> Html:
    """Verdicts of the one state down, of the other across."""
    names = [name for name in (*STATUSES, None) if any(name in (one["from"], one["to"]) for one in moved)]
    cells = {(one["from"], one["to"]): one["n"] for one in moved}
    rows = [(f"from {name or 'not there'}", *(cells.get((name, other), 0) for other in names)) for name in names]
    return table(["", *(f"to {name or 'not there'}" for name in names)], rows, "Verdicts, in rows")


def _sides(one: dict[str, Any]) -> tuple[str, str, str]:
    said = [f"{percent(side['rate'])} of {side['n']}" if side else "-" for side in (one["from"], one["to"])]
    points = "-" if one["difference"] is None else f"{100 * one['difference']:+.1f} points"
    return said[0], said[1], points
