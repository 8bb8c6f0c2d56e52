"""The part of the page about where everything comes from."""

from datetime import UTC, datetime
from typing import Any

from clipflow.audit.html.tags import Html, facts, join, section, table, tag
from clipflow.audit.report import AuditReport
from clipflow.audit.view import Rows


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
