"""Refusing a policy that cannot be applied, before anything is fetched."""

from collections.abc import Collection
from itertools import combinations

from clipflow.encoders.info import EncoderInfo
from clipflow.errors import PolicyError
from clipflow.policy.scorers import find_scorer
from clipflow.schema import DETAIL
from clipflow.spec import PolicySpec, Rule, digest

_ALWAYS = frozenset({"name", "score", "review_below", "review_above", "reject_below", "reject_above"})
# What lies left may not exceed what lies right: a rejection is the graver one on either side.
_ASCENDING = ("reject_below", "review_below", "review_above", "reject_above")


def check_policy(
    policy: PolicySpec, info: EncoderInfo | None, *, captions: bool, attributes: Collection[str] | None = None
) -> None:
    """Raises PolicyError or NotYet, naming the rule and the mend.

    Args:
        info: The encoder whose vectors are judged; None checks only what needs no encoder.
        captions: Whether rows have captions.
        attributes: Names of the attributes that rows have; None where that is not known.
    """
    for rule in policy.rules:
        scorer = find_scorer(rule.score, rule.name)
        given = set(rule.model_dump(exclude_none=True)) - _ALWAYS - scorer.parameters
        if given:
            raise PolicyError(
                f"Rule {rule.name!r}: {sorted(given)[0]} is no parameter of the score {rule.score}.", "Remove it."
            )
        _check_bounds(rule)
        if scorer.needs_caption and not captions:
            raise PolicyError(
                f"Rule {rule.name!r} scores by {rule.score}, but the source names no captions.",
                "Set source.caption to the manifest's column, or remove the rule.",
            )
        if info is None:
            continue
        if scorer.needs_text and not info.has_text:
            raise PolicyError(
                f"Rule {rule.name!r} scores by {rule.score}, but the encoder has no text tower.",
                "Name a model of the CLIP or SigLIP family, or remove the rule.",
            )
        scorer.check(rule, policy, info)
        if attributes is not None:
            _check_attributes(rule, scorer.reads(rule), attributes)


def _check_attributes(rule: Rule, read: Collection[str], attributes: Collection[str]) -> None:
    wanted = {name.removeprefix("attr_") for name in read if name.startswith("attr_")}
    if missing := sorted(wanted - set(attributes)):
        raise PolicyError(
            f"Rule {rule.name!r} reads attr_{missing[0]}, but the source names no attribute {missing[0]!r}.",
            "Add it to source.attributes, or remove the rule.",
        )


def _check_bounds(rule: Rule) -> None:
    bounds = [(key, rule.bounds[key]) for key in _ASCENDING if key in rule.bounds]
    for (left, low), (right, high) in combinations(bounds, 2):
        if low > high:
            raise PolicyError(
                f"Rule {rule.name!r}: its bounds cross, {left} {low:g} is greater than {right} {high:g}.",
                f"They must ascend: {', '.join(_ASCENDING)}.",
            )


def details_read(policy: PolicySpec) -> frozenset[str]:
    """The columns that only the pixels of whole images tell and that rules read."""
    read = (find_scorer(rule.score, rule.name).reads(rule) for rule in policy.rules)
    return frozenset(DETAIL).intersection(frozenset().union(*read))


def score_columns(policy: PolicySpec) -> list[str]:
    """The score columns that a policy adds to the table."""
    return [column for rule in policy.rules for column in find_scorer(rule.score, rule.name).columns(rule)]


def match_columns(policy: PolicySpec) -> list[str]:
    """The columns that name another row, which a policy adds to the table."""
    return [column for rule in policy.rules for column in find_scorer(rule.score, rule.name).matches(rule)]


def fingerprints(policy: PolicySpec, info: EncoderInfo) -> dict[str, str]:
    """By rule name, what its stored scores follow from; rules whose score is a column already have none."""
    found = [(rule, find_scorer(rule.score, rule.name)) for rule in policy.rules]
    own = {rule.name: scorer.fingerprint(rule, info) for rule, scorer in found if scorer.columns(rule)}
    owners = {column: rule.name for rule, scorer in found for column in scorer.columns(rule)}
    # What follows from other scores changes with them.
    for rule, scorer in found:
        if read := sorted({owners[column] for column in scorer.reads(rule) & owners.keys()}):
            own[rule.name] = digest([own[rule.name], {name: own[name] for name in read}])
    return own
