"""Refusing a policy that cannot be applied, before anything is fetched."""

from clipflow.errors import PolicyError
from clipflow.policy.scorers import find_scorer
from clipflow.spec import PolicySpec, SourceSpec

_ALWAYS = frozenset({"name", "score", "review_below", "review_above", "reject_below", "reject_above"})


def check_policy(policy: PolicySpec, source: SourceSpec, *, has_text: bool) -> None:
    """Raises PolicyError or NotYet, naming the rule and the mend.

    Args:
        has_text: Whether the encoder has a text tower.
    """
    for rule in policy.rules:
        scorer = find_scorer(rule.score, rule.name)
        given = set(rule.model_dump(exclude_none=True)) - _ALWAYS - scorer.parameters
        if given:
            raise PolicyError(
                f"Rule {rule.name!r}: {sorted(given)[0]} is no parameter of the score {rule.score}.", "Remove it."
            )
        if scorer.needs_caption and not source.caption:
            raise PolicyError(
                f"Rule {rule.name!r} scores by {rule.score}, but the source names no captions.",
                "Set source.caption to the manifest's column, or remove the rule.",
            )
        if scorer.needs_text and not has_text:
            raise PolicyError(
                f"Rule {rule.name!r} scores by {rule.score}, but the encoder has no text tower.",
                "Name a model of the CLIP or SigLIP family, or remove the rule.",
            )


def score_columns(policy: PolicySpec) -> list[str]:
    """The score columns that a policy adds to the table."""
    return [column for rule in policy.rules for column in find_scorer(rule.score, rule.name).columns(rule)]
