"""The whole page, and writing it."""

from datetime import UTC, datetime
from importlib.resources import files
from os.path import basename

from clipflow.audit.html.compared import compared
from clipflow.audit.html.groups import groups
from clipflow.audit.html.method import method
from clipflow.audit.html.outcomes import outcomes, people
from clipflow.audit.html.plots import verdict_bar
from clipflow.audit.html.provenance import moment, provenance
from clipflow.audit.html.rules import rules
from clipflow.audit.html.tags import Html, facts, join, section, tag
from clipflow.audit.report import AuditReport, interval
from clipflow.files import write_file
from clipflow.version import __version__


def write_page(report: AuditReport, path: str) -> None:
    """Write the page as UTF-8, to a path or to S3.

    Raises:
        UsageError: The file cannot be written.
        StorageUnavailable: Storage did not answer.
    """
    write_file(path, page(report).encode(), "page")


def page(report: AuditReport) -> Html:
    """The audit as one HTML document."""
    name = basename(report.table).removesuffix(".lance")
    head = tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", f"Audit of {name}"),
        tag("style", Html(files(__package__).joinpath("page.css").read_text("utf-8"))),
    )
    body = tag(
        "body",
        tag("header", tag("h1", f"Audit of {name}"), _about(report)),
        tag(
            "main",
            _summary(report),
            groups(report),
            rules(report),
            people(report),
            outcomes(report),
            compared(report),
            provenance(report),
            method(report),
        ),
        tag("footer", f"clipflow {__version__}"),
    )
    return join((Html("<!doctype html>\n"), tag("html", head, body, lang="en"), "\n"))


def _about(report: AuditReport) -> Html:
    policy = report.policy
    return facts(
        [
            ("Purpose", policy.get("purpose")),
            ("Owner", policy.get("owner")),
            ("Contact", policy.get("contact")),
            ("Table", join((tag("code", report.table), f", version {report.version}"))),
            ("Model", join((tag("code", report.encoder["model"]), f", {report.encoder['dim']} dimensions"))),
            ("Written", moment(datetime.now(UTC))),
        ]
    )


def _summary(report: AuditReport) -> Html:
    flagged = {(group["column"], group["value"]) for group in report.flagged}
    told = [
        tag("p", tag("strong", f"{report.rows:,} rows"), f"; removed: {interval(report.overall)} of the "
            f"{report.overall['n']:,} that did not fail; not shown, with the {report.overall['review']:,} in review: "
            f"{interval(report.overall, 'not_shown_')}."),
        tag("figure", verdict_bar(report.statuses)) if report.rows else tag("p", "The table is empty."),
    ]  # fmt: skip
    if report.by:
        shown = len({(group["column"], group["value"]) for group in report.groups})
        told.append(tag("p", f"{len(flagged)} of {shown} groups shown are flagged."))
    if report.unjudged:
        told.append(tag("p", f"{report.unjudged} rows were judged by another policy than the table's.", class_="warn"))
    if report.fail_if:
        said = {True: "holds: the audit fails", False: "does not hold", None: "cannot be decided, it is null"}
        failed = "warn" if report.fail_if["holds"] else None
        code = tag("code", report.fail_if["expression"])
        told.append(tag("p", "The condition ", code, f" {said[report.fail_if['holds']]}.", class_=failed))
    read = tag("p", "A score is a measurement under one model, prompt and label set, never proof. ",
               tag("a", "How to read this page", href="#method"), ".")  # fmt: skip
    return section("Summary", *told, read)
