"""Which rules of a policy mean the same under another encoder."""

from clipflow.errors import PolicyError
from clipflow.policy.scorers import find_scorer
from clipflow.schema import MEASURES
from clipflow.spec import PolicySpec, Rule

_OF_BYTES_AND_PIXELS = frozenset({*MEASURES, "exact_duplicate", "perceptual_duplicate"})


def of_vectors(policy: PolicySpec) -> list[Rule]:
    """The rules whose scores follow from vectors, directly or through the score of another rule."""
    found = [rule for rule in policy.rules if rule.score not in _OF_BYTES_AND_PIXELS and rule.score != "expression"]
    grown = -1
    while grown != len(found):
        grown = len(found)
        columns = {name for rule in found for name in find_scorer(rule.score, rule.name).columns(rule)}
        found += [
            rule
            for rule in policy.rules
            if rule not in found and find_scorer(rule.score, rule.name).reads(rule) & columns
        ]
    return [rule for rule in policy.rules if rule in found]


def carried(policy: PolicySpec) -> PolicySpec:
    """The policy itself, when it may go over to another encoder as it is.

    Raises:
        PolicyError: Bounds of some rules are those of the old encoder's scores; the rules are named.
    """
    if rules := of_vectors(policy):
        named = ", ".join(f"{rule.name} ({rule.score})" for rule in rules)
        raise PolicyError(
            f"Scores of two encoders cannot be compared, and these rules have bounds of the old one's: {named}.",
            "Restate them for the new encoder, and give the whole policy with --policy FILE.",
        )
    return policy
