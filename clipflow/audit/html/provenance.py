"""The parts of the page about people, duplicates, another state, and where everything comes from."""

from datetime import UTC, datetime
from typing import Any

from clipflow.audit.groups import ANY
from clipflow.audit.html.tags import Html, facts, join, section, table, tag
from clipflow.audit.report import STATUSES, AuditReport, interval, label, percent
from clipflow.audit.view import Rows


def people(report: AuditReport) -> Html:
    """What people said against the rules."""
    said = report.people
    shares = [
        ("Accepted by a person though a rule rejects (false rejects)", said["false_rejects"]),
        ("Rejected by a person though no rule rejects (false accepts)", said["false_accepts"]),
    ]
    rows = [(name, one["k"], one["n"], interval(one)) for name, one in shares]
    told = tag("p", f"{said['reviewed']} rows were reviewed by people; {said['queue']} wait in the queue.")
    headers = ["", "rows", "of reviewed", "share (95 % interval)"]
    return section("People", told, table(headers, rows) if said["reviewed"] else None)


def outcomes(report: AuditReport) -> Html:
    """Reasons, failures and duplicates."""
    reasons = table(["reason", "rows"], report.reasons.items(), "Rows by reason; a row may have several")
    failures = table(["code", "rows"], report.failures.items(), "Failed rows by code")
    clusters = [
        (one["rule"], one["pointing"], one["clusters"], ", ".join(map(str, one["largest"])) or "-")
        for one in report.duplicates
    ]
    headers = ["rule", "duplicates", "clusters", "largest clusters"]
    return section(
        "Reasons, failures, duplicates",
        reasons if report.reasons else tag("p", "No row has a reason."),
        failures if report.failures else tag("p", "No row failed."),
        table(headers, clusters, "Duplicates; a cluster counts its original too") if clusters else None,
    )


def against(report: AuditReport) -> Html | None:
    """The other state, side by side."""
    found = report.against
    if found is None:
        return None
    if found["kind"] == "run":
        what = f"From the table as run {found['run_id']} left it (version {found['version']}) to this one."
    else:
        what = f"From this table to what it would be under policy {found['policy_id']}."
    rules = [("any" if one["rule"] == ANY else one["rule"], *_sides(one)) for one in found["rules"]]
    groups = [
        (f"{one['column']}: {label(one['value'])}", "any" if one["rule"] == ANY else one["rule"], *_sides(one))
        for one in found["groups"]
        if one["rule"] == ANY or one["difference"]
    ]
    headers = ["group", "rule", "from", "to", "difference"]
    return section(
        "Compared",
        tag("p", what),
        _matrix(found["moved"]),
        table(["rule", "from", "to", "difference"], rules, "Removal by rule"),
        table(headers, groups, "Removal by group; rules only where it differs", words=2) if groups else None,
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


def provenance(report: AuditReport) -> Html:
    """Policy, encoder, source windows, operations."""
    policy, card = report.policy, report.encoder
    return section(
        "Where it comes from",
        tag("h3", "Policy"),
        facts((name.capitalize(), policy.get(name)) for name in ("purpose", "owner", "contact", "policy_id")),
        tag("h3", "Encoder"),
        facts((name.replace("_", " "), _said(value)) for name, value in card.items()),
        tag("h3", "Source"),
        *(_window(window) for window in report.windows),
        tag("h3", "Operations"),
        _operations(report.runs["last"], report.runs["n"]),
    )


def _window(window: dict[str, Any]) -> Html:
    spans = [f"{moment(start)} to {moment(stop)}" for start, stop in window["intervals"]]
    return facts(
        [
            ("Job", window["job"]),
            ("Rows", window["rows"]),
            ("Runs", f"{window['runs']}, of them {window['unbounded']} without an interval"),
            ("Intervals covered", join(tag("div", span) for span in spans) if spans else None),
            ("Sources modified", f"{moment(window['first_modified'])} to {moment(window['last_modified'])}"),
        ]
    )


def _operations(last: Rows, n: int) -> Html:
    headers = ["started", "verb", "state", "run", "versions", "listed", "embedded", "reused", "failed", "rejected"]
    rows = [
        (moment(run["started_at"]), run["verb"], run["state"], (run["run_id"] or "")[:12],
         f"{_dash(run['from_version'])} to {_dash(run['to_version'])}",
         *(_dash(run[name]) for name in ("listed", "embedded", "reused", "failed", "rejected")))
        for run in last
    ]  # fmt: skip
    return table(headers, rows, f"The last {len(last)} of {n} operations", words=4)


def moment(value: datetime | None) -> str:
    """A time in UTC, to the minute."""
    return "-" if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _dash(value: Any) -> str:
    return "-" if value is None else str(value)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {one}" for key, one in value.items())
    return "" if value is None else str(value)
