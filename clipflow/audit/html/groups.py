"""The part of the page about groups."""

from typing import Any

from clipflow.audit.groups import ANY
from clipflow.audit.html.plots import rates
from clipflow.audit.html.tags import Html, join, section, table, tag
from clipflow.audit.report import AuditReport, label, percent, pivot
from clipflow.audit.view import Rows

DRAWN = 40
"""So many groups of a column are drawn, the highest rates first."""

LISTED = 200
"""So many stand in the table; the JSON has all."""


def groups(report: AuditReport) -> Html:
    """For each column a drawing for all rules together, one for each rule that removes anything, and the figures."""
    if not report.by:
        return section("Groups", tag("p", "No groups were asked for; ", tag("code", "--by COLUMN"), " compares them."))
    return join(_column(report, column) for column in report.by)


def _column(report: AuditReport, column: str) -> Html:
    rows = list(pivot(report.groups, column))
    small = next((one for one in report.suppressed if one["column"] == column), None)
    hidden = _hidden(small, report.bounds.min_group) if small else None
    if not rows:
        return section(f"By {column}", tag("p", "No group is large enough to be shown."), hidden)
    overall = report.overall["rate"]
    drawn = rates(f"Removal by {column}, all rules together", [entries[0] for entries in rows[:DRAWN]], overall)
    more = tag("p", _limits(len(rows))) if len(rows) > DRAWN else None
    key = tag("p", "Dot: rate. Line: 95 % interval. Dashed: overall rate. Diamond: flagged.", class_="key")
    hidden_too = rates(f"Not shown by {column}, all rules together", _not_shown(rows), report.overall["not_shown_rate"])
    caption = tag("figcaption", "Not shown: rejected or in review")
    by_rule = [_rule(report, rule, rows, column) for rule in report.rules]
    return section(
        f"By {column}",
        _findings(report, column),
        tag("figure", drawn, key),
        more,
        tag("figure", caption, hidden_too) if report.overall["review"] else None,
        *by_rule,
        _figures(rows, column),
        hidden,
    )


def _limits(groups: int) -> str:
    listed = f", the table lists {LISTED}; the JSON has all" if groups > LISTED else ""
    return f"Drawn are the {DRAWN} highest of {groups} groups{listed}."


def _findings(report: AuditReport, column: str) -> Html:
    flagged = [(group, "removed", "") for group in report.flagged if group["column"] == column]
    own = [group for group in report.groups if group["column"] == column and group["rule"] == ANY]
    flagged += [(group, "not_shown", "not_shown_") for group in own if group["not_shown_flagged"]]
    if not flagged:
        return tag("p", "No group is flagged.")
    said = [
        tag("li", tag("strong", label(group["value"])),
            f": {'not shown' if kind else _by(group['rule'])} {percent(group[f'{kind}rate'])}, ",
            f"{group[f'{kind}ratio']:.2f} times the overall rate ({group[count]} of {group['n']} rows)")
        for group, count, kind in flagged[:DRAWN]
    ]  # fmt: skip
    if len(flagged) > DRAWN:
        said.append(tag("li", f"and {len(flagged) - DRAWN} more"))
    return join((tag("p", "Flagged:"), tag("ul", *said, class_="flags")))


def _not_shown(rows: list[Rows]) -> Rows:
    """The groups with what is not shown in the place of what is removed, the highest rates first."""
    keys = ("rate", "low", "high", "ratio", "flagged")
    entries = [
        {**one, "removed": one["not_shown"], **{key: one[f"not_shown_{key}"] for key in keys}} for one, *_ in rows
    ]
    return sorted(entries, key=lambda entry: -entry["rate"])[:DRAWN]


def _rule(report: AuditReport, rule: dict[str, Any], rows: list[Rows], column: str) -> Html | None:
    if not rule["reject"]:
        return None
    entries = [next(entry for entry in group if entry["rule"] == rule["rule"]) for group in rows]
    ordered = sorted(entries, key=lambda entry: -entry["rate"])[:DRAWN]
    drawn = rates(f"Removal by {column}, rule {rule['rule']}", ordered, rule["reject_rate"])
    return tag("figure", tag("figcaption", "Rule ", tag("code", rule["rule"])), drawn)


def _figures(rows: list[Rows], column: str) -> Html:
    """A row a group, a column a rule: the table of Hong et al."""
    rules = ["any rule" if entry["rule"] == ANY else entry["rule"] for entry in rows[0]]
    cells = [
        (label(whole["value"]), whole["n"], whole["review"], _cell(whole, "not_shown", "not_shown_"),
         *(_cell(entry, "removed", "") for entry in (whole, *others)))
        for whole, *others in rows[:LISTED]
    ]  # fmt: skip
    about = "Not shown (rejected or in review), and removed by rule, with 95 % interval, and times the overall rate"
    return table([column, "rows", "review", "not shown", *rules], cells, about)


def _cell(entry: dict[str, Any], count: str, kind: str) -> Html:
    low, high = 100 * entry[f"{kind}low"], 100 * entry[f"{kind}high"]
    ratio = "" if entry[f"{kind}ratio"] is None else f", x{entry[f'{kind}ratio']:.2f}"
    beside = tag("small", f"{low:.1f} to {high:.1f}{ratio}")
    share = f"{percent(entry[f'{kind}rate'])} ({entry[count]})"
    return tag("div", join((share, beside)), class_="flagged" if entry[f"{kind}flagged"] else None)


def _hidden(small: dict[str, Any], least: int) -> Html:
    groups = f"{small['suppressed_groups']} groups" if small["suppressed_groups"] > 1 else "1 group"
    return tag("p", f"Not shown: {groups} of fewer than {least} rows, {small['n']} rows together.")


def _by(rule: str) -> str:
    return "all rules together remove" if rule == ANY else f"rule {rule} removes"
