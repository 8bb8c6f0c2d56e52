"""Scorers by name: what a rule's `score:` may say. Each lives in a file of its own."""

import difflib

from clipflow.errors import NotYet, PolicyError
from clipflow.policy.scorers.base import Scorer
from clipflow.policy.scorers.caption import Caption
from clipflow.policy.scorers.exact_duplicate import ExactDuplicate
from clipflow.policy.scorers.measure import Measure
from clipflow.policy.scorers.near_duplicate import NearDuplicate
from clipflow.policy.scorers.perceptual_duplicate import PerceptualDuplicate
from clipflow.policy.scorers.semdedup import SemDeDup
from clipflow.schema import MEASURES

SCORERS: dict[str, Scorer] = {
    **{name: Measure(name) for name in MEASURES},
    "caption": Caption(),
    "exact_duplicate": ExactDuplicate(),
    "near_duplicate": NearDuplicate(),
    "perceptual_duplicate": PerceptualDuplicate(),
    "semdedup": SemDeDup(),
}

_LATER = frozenset(
    {
        "clip_score",
        "zero_shot",
        "head",
        "expression",
    }
)


def find_scorer(score: str, rule: str) -> Scorer:
    """The scorer of a rule.

    Raises:
        NotYet: The contract knows it, this version does not have it.
        PolicyError: Nobody knows it.
    """
    if score in SCORERS:
        return SCORERS[score]
    if score in _LATER:
        raise NotYet(
            f"Rule {rule!r} scores by {score}, which comes with a later version.",
            f"This version scores by {', '.join(SCORERS)}.",
        )
    near = difflib.get_close_matches(score, [*SCORERS, *_LATER], n=1)
    raise PolicyError(
        f"Rule {rule!r} scores by {score!r}, which is no score.",
        f"Did you mean {near[0]!r}?" if near else f"Scores are {', '.join(SCORERS)}.",
    )
