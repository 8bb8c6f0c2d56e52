"""The part of the page about rules."""

from typing import Any

from clipflow.audit.html.axis import short
from clipflow.audit.html.plots import histogram
from clipflow.audit.html.tags import Html, facts, join, section, table, tag
from clipflow.audit.report import AuditReport, interval, percent
from clipflow.audit.sensitivity import STEPS


def rules(report: AuditReport) -> Html:
    """Every rule: what it does, its scores, its sensitivity, and how people answered."""
    if not report.rules:
        return section("Rules", tag("p", "The policy has no rules: every image that can be read is accepted."))
    return section("Rules", *(_rule(rule) for rule in report.rules))


def _rule(rule: dict[str, Any]) -> Html:
    drawn = histogram(rule)
    return tag(
        "article",
        tag("h3", rule["rule"]),
        facts(
            [
                ("Score", join((rule["score"], ", column ", tag("code", rule["column"])))),
                ("Fires when", _bounds(rule["bounds"])),
                ("Scored", f"{rule['scored']} of {rule['n']} rows that did not fail"),
                ("Beyond a reject bound", f"{rule['reject']} rows, {interval({**rule, 'rate': rule['reject_rate']})}"),
                ("Beyond a review bound", f"{rule['review']} rows, {percent(rule['review_rate'])}"),
                ("Mean and deviation", _spread(rule)),
                *((f"People, {kind} bound", _overruled(rule["overruled"][kind])) for kind in ("reject", "review")),
            ]
        ),
        tag("figure", drawn, tag("p", _tallest(rule), class_="key")) if drawn else tag("p", "No row has this score."),
        _labels(rule["parameters"]),
        _sensitivity(rule),
        _prompts(rule),
    )


def _bounds(bounds: dict[str, float]) -> str:
    said = [f"{key.split('_')[0]}: score {key.split('_')[1]} {bound:g}" for key, bound in bounds.items()]
    return "; ".join(said) or "never: it has no bounds, the score is only recorded"


def _tallest(rule: dict[str, Any]) -> str:
    counts = rule["histogram"]["counts"]
    return f"{sum(counts)} scores in {len(counts)} bins of one width; the tallest holds {max(counts)}."


def _spread(rule: dict[str, Any]) -> str | None:
    if rule["mean"] is None:
        return None
    return f"{short(rule['mean'])}, {short(rule['deviation'])} (from {short(rule['min'])} to {short(rule['max'])})"


def _overruled(counted: dict[str, Any]) -> str | None:
    if not counted["n"]:
        return None
    return f"accepted {counted['k']} of the {counted['n']} they looked at, {interval(counted)}"


def _labels(parameters: dict[str, Any]) -> Html | None:
    """What the rule says beyond its bounds, verbatim."""
    if not parameters:
        return None
    said = {key: value for key, value in parameters.items() if key not in ("labels", "templates")}
    labels = [(key, _lines(text)) for key, text in parameters.get("labels", {}).items()]
    return join(
        (
            table(["label", "text"], labels, "Label set, verbatim", words=2) if labels else None,
            tag("p", "Templates, verbatim: ", _lines(parameters["templates"])) if "templates" in parameters else None,
            facts((key, _lines(value)) for key, value in said.items()),
        )
    )


def _lines(value: Any) -> Html:
    texts = value if isinstance(value, list) else [value]
    return join(tag("span", tag("code", str(text)), " ") for text in texts)


def _sensitivity(rule: dict[str, Any]) -> Html | None:
    """A row a bound, a column a step."""
    if not rule["sensitivity"]:
        return None
    headers = ["bound", "stands at", *(f"{step:+g} sd" for step in STEPS)]
    rows = []
    for key, bound in rule["bounds"].items():
        moves = [move for move in rule["sensitivity"] if move["bound"] == key]
        rows.append((key.replace("_", " "), f"{bound:g}", *(_move(move) for move in moves)))
    return table(headers, rows, "Verdicts that would change, had a bound stood so many standard deviations elsewhere")


def _move(move: dict[str, Any]) -> Html:
    beside = (tag("small", f"at {short(move['to'])}"), tag("small", f"{move['rejected']:+d} rejected"))
    return join((str(move["moved"]), *beside))


def _prompts(rule: dict[str, Any]) -> Html | None:
    rows = [
        (one["template"], "own" if one["own"] else "paraphrase", one["moved"], f"{one['rejected']:+d}",
         "-" if one["shift"] is None else f"{one['shift']:.3f}")
        for one in rule.get("prompts") or ()
    ]  # fmt: skip
    headers = ["template alone", "whose", "verdicts that change", "more rejected", "mean change of the score"]
    return table(headers, rows, "Prompt sensitivity: had the labels been worded otherwise", words=2) if rows else None
