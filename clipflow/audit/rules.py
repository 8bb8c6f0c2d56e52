"""What each rule of the policy does: scores, bounds, how often it fires, and how people answered."""

from typing import Any

from clipflow.audit.sensitivity import sensitivity
from clipflow.audit.view import KINDS, Rows, View
from clipflow.audit.wilson import share, wilson
from clipflow.policy.verdict import score_column
from clipflow.spec import Rule

BINS = 20
DEFAULT_TEMPLATES = ("{}",)

_BESIDE = {"name", "score", "review_below", "review_above", "reject_below", "reject_above"}


def rules(view: View) -> Rows:
    """What the document calls `rules`, sorted by name."""
    ordered = sorted(view.policy.rules, key=lambda rule: rule.name)
    if not ordered:
        return []
    counted = view.one(f"SELECT {', '.join(part for rule in ordered for part in _figures(rule))} FROM {{view}}")
    found = [_rule(rule, {key: counted[f"{key}_{rule.name}"] for key in _KEYS}) for rule in ordered]
    for rule, entry in zip(ordered, found, strict=True):
        entry["histogram"] = _histogram(view, rule, entry)
    moves = sensitivity(view, {entry["rule"]: entry["deviation"] for entry in found})
    return [{**entry, "sensitivity": moves[entry["rule"]]} for entry in found]


_KEYS = (
    "n",
    "scored",
    *KINDS,
    *("min", "max", "mean", "deviation"),
    *(f"{kind}_{answer}" for kind in KINDS for answer in ("reviewed", "accepted")),
)


def _figures(rule: Rule) -> list[str]:
    score, sound = f"s_{rule.name}", "status <> 'failed'"
    finite = f"FILTER (WHERE {sound} AND isfinite({score}))"
    parts = {
        "n": f"count(*) FILTER (WHERE {sound})",
        "scored": f"count({score}) FILTER (WHERE {sound})",
        "min": f"min({score}) {finite}",
        "max": f"max({score}) {finite}",
        # An aggregate sees the row before it is filtered out, and squares of infinity are refused.
        "mean": f"avg(CASE WHEN isfinite({score}) THEN CAST({score} AS DOUBLE) END) {finite}",
        "deviation": f"stddev_pop(CASE WHEN isfinite({score}) THEN CAST({score} AS DOUBLE) END) {finite}",
    }
    for kind in KINDS:
        fired = f"{sound} AND {kind}_{rule.name}"
        parts[kind] = f"count(*) FILTER (WHERE {fired})"
        parts[f"{kind}_reviewed"] = f"count(reviewed_verdict) FILTER (WHERE {fired})"
        parts[f"{kind}_accepted"] = f"count(*) FILTER (WHERE {fired} AND reviewed_verdict = 'accepted')"
    return [f"{parts[key]} AS {key}_{rule.name}" for key in _KEYS]


def _rule(rule: Rule, counted: dict[str, Any]) -> dict[str, Any]:
    n = counted["n"]
    fired = {kind: counted[kind] for kind in KINDS}
    low, high = wilson(fired["reject"], n)
    return {
        "rule": rule.name,
        "score": rule.score,
        "column": score_column(rule),
        "bounds": rule.bounds,
        "parameters": parameters(rule),
        "n": n,
        "scored": counted["scored"],
        **fired,
        **{f"{kind}_rate": fired[kind] / n if n else None for kind in KINDS},
        "low": low,
        "high": high,
        **{key: counted[key] for key in ("min", "max", "mean", "deviation")},
        # Of the rows that the rule fired on and a person looked at: how many the person accepted.
        "overruled": {kind: share(counted[f"{kind}_accepted"], counted[f"{kind}_reviewed"]) for kind in KINDS},
    }


def parameters(rule: Rule) -> dict[str, Any]:
    """What else the rule says, verbatim; the templates of a label set also where it leaves them open."""
    said: dict[str, Any] = rule.model_dump(mode="json", exclude_none=True, exclude=_BESIDE)
    return {**said, "templates": said.get("templates", list(DEFAULT_TEMPLATES))} if rule.labels else said


def _histogram(view: View, rule: Rule, entry: dict[str, Any]) -> dict[str, Any] | None:
    """{low, high, counts}: 20 bins of one width from the least finite score to the greatest, which is in the last."""
    low, high = entry["min"], entry["max"]
    if low is None:
        return None
    score = f"CAST(s_{rule.name} AS DOUBLE)"
    bin = f"least({BINS - 1}, CAST(floor(({score} - {low!r}) / ({high!r} - {low!r}) * {BINS}) AS INTEGER))"
    rows = view.ask(
        f"SELECT {bin if high > low else '0'} AS bin, count(*) AS n FROM {{view}} "
        f"WHERE status <> 'failed' AND isfinite(s_{rule.name}) GROUP BY bin"
    )
    counts = {row["bin"]: row["n"] for row in rows}
    return {"low": low, "high": high, "counts": [counts.get(at, 0) for at in range(BINS)]}
