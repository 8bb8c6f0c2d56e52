"""The parts of the page about people, and about reasons, failures and duplicates."""

from clipflow.audit.html.tags import Html, section, table, tag
from clipflow.audit.report import AuditReport, interval


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
