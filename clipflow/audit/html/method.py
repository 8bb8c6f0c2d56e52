"""The part of the page that says how to read it."""

from clipflow.audit.html.tags import Html, section, tag
from clipflow.audit.report import AuditReport

_NOTES = (
    (
        "What a score is not",
        "A score is a measurement under one model, one prompt and one label set. It is never proof of what an image "
        "shows, nor of who is in it. Another encoder, wording or threshold gives other numbers; the tables of "
        "sensitivity say how much hangs on that.",
    ),
    (
        "Rate",
        "Rows removed, divided by rows of the group that did not fail. For all rules together removed means that the "
        "row's status is rejected, so a person's verdict counts; for one rule, that its reject bound fires.",
    ),
    (
        "Not shown",
        "Rows that are rejected or in review, divided in the same way: what waits for a person is not shown either, "
        "for as long as it waits. For one rule, that its reject or its review bound fires.",
    ),
    (
        "Interval",
        "Wilson's score interval at 95 % (E. B. Wilson 1927, JASA 22, 209-212). It says which rates would be plausible "
        "for rows drawn like these; with few rows it is wide.",
    ),
    (
        "People",
        "Only rows that somebody reviewed count, mostly from the queue. They are no random sample: to estimate errors "
        "of the whole table, label a random sample and use clipflow evaluate.",
    ),
    (
        "Groups",
        "Groups are what a manifest or the table declares, such as a locale. Nothing is inferred from pixels, faces or "
        "names. A difference between groups is a reason to look, not a finding of cause. Unequal removal of groups by "
        "such filters was shown by Hong et al. 2024, Who's in and who's out? (EAAMO).",
    ),
)


def method(report: AuditReport) -> Html:
    """How to read the page."""
    low, high, least = report.bounds.low, report.bounds.high, report.bounds.min_group
    flagged = (
        f"The group's rate is less than {low:g} or more than {high:g} times the overall rate, and its interval "
        "excludes the overall rate. 0.8 is the four-fifths rule of the Uniform Guidelines on Employee Selection "
        "Procedures (29 CFR 1607.4 D), 1.25 its reciprocal. With many groups and rules a few are flagged by chance."
    )
    suppressed = (
        f"A group of fewer than {least} rows is not shown: its rate says little, and few rows may be one person's. "
        "Its rows count in the overall rates."
    )
    notes = (*_NOTES, ("Flagged", flagged), ("Suppressed", suppressed))
    said = [tag("div", tag("dt", name), tag("dd", text)) for name, text in notes]
    return section("How to read this page", tag("dl", *said, class_="notes"), id="method")
