"""How many verdicts hang on where exactly a bound stands."""

from clipflow.audit.firing import fires, judged, ruled
from clipflow.audit.view import KINDS, Rows, View
from clipflow.spec import Rule

STEPS = (-0.5, -0.25, -0.1, 0.1, 0.25, 0.5)
"""By how many standard deviations of the score a bound is moved."""


def sensitivity(view: View, deviations: dict[str, float | None]) -> dict[str, Rows]:
    """By rule name, for each bound and step {bound, value, step, to, moved, rejected}.

    Args:
        deviations: The standard deviation of each rule's scores; None or 0 moves nothing.

    `moved` counts rows whose verdict would be another, `rejected` how many more rows would be rejected. All other
    bounds stay, and so do failures and what people said.
    """
    moves = {rule.name: _moves(rule, deviations[rule.name] or 0.0) for rule in view.policy.rules}
    shifts = [(rule, move) for rule in view.policy.rules for move in moves[rule.name]]
    if not shifts:
        return moves
    before = judged("ruled")
    parts = []
    for at, (rule, move) in enumerate(shifts):
        after = judged(with_bound(view, rule, move["bound"], move["to"]))
        parts += [moved_count(before, after, f"m{at}"), rejected_change(before, after, f"r{at}")]
    counted = view.one(f"SELECT {', '.join(parts)} FROM {{view}}")
    for at, (_, move) in enumerate(shifts):
        move |= {"moved": counted[f"m{at}"], "rejected": counted[f"r{at}"]}
    return moves


def with_bound(view: View, rule: Rule, bound: str, value: float | None) -> str:
    """The status by the rules alone, where one bound of one rule has another value."""
    changed = rule.model_copy(update={bound: value})
    reject, review = (fires(changed, kind, f"s_{rule.name}") for kind in KINDS)
    return ruled(view.policy, {rule.name: (reject, review)})


def moved_count(before: str, after: str, name: str) -> str:
    """How many rows have another verdict after than before."""
    return f"count(*) FILTER (WHERE ({before}) <> ({after})) AS {name}"


def rejected_change(before: str, after: str, name: str) -> str:
    """How many more rows are rejected after than before."""
    more, fewer = (f"count(*) FILTER (WHERE ({status}) = 'rejected')" for status in (after, before))
    return f"{more} - {fewer} AS {name}"


def _moves(rule: Rule, deviation: float) -> Rows:
    if not deviation:
        return []
    steps = ((key, value, step) for key, value in rule.bounds.items() for step in STEPS)
    return [{"bound": key, "value": value, "step": step, "to": value + step * deviation} for key, value, step in steps]
