"""Scorers by name: what a rule's `score:` may say. Each lives in a file of its own."""

import difflib

from clipflow.errors import PolicyError
from clipflow.policy.scorers.base import Scorer
from clipflow.policy.scorers.caption import Caption
from clipflow.policy.scorers.clip_score import ClipScore
from clipflow.policy.scorers.exact_duplicate import ExactDuplicate
from clipflow.policy.scorers.expression import Expression
from clipflow.policy.scorers.head import HeadScore
from clipflow.policy.scorers.measure import Measure
from clipflow.policy.scorers.near_duplicate import NearDuplicate
from clipflow.policy.scorers.perceptual_duplicate import PerceptualDuplicate
from clipflow.policy.scorers.semdedup import SemDeDup
from clipflow.policy.scorers.zero_shot import ZeroShot
from clipflow.schema import MEASURES

SCORERS: dict[str, Scorer] = {
    **{name: Measure(name) for name in MEASURES},
    "caption": Caption(),
    "clip_score": ClipScore(),
    "zero_shot": ZeroShot(),
    "head": HeadScore(),
    "exact_duplicate": ExactDuplicate(),
    "perceptual_duplicate": PerceptualDuplicate(),
    "near_duplicate": NearDuplicate(),
    "semdedup": SemDeDup(),
    "expression": Expression(),
}


def find_scorer(score: str, rule: str) -> Scorer:
    """The scorer of a rule.

    Raises:
        PolicyError: Nobody knows it.
    """
    if score in SCORERS:
        return SCORERS[score]
    near = difflib.get_close_matches(score, SCORERS, n=1)
    raise PolicyError(
        f"Rule {rule!r} scores by {score!r}, which is no score.",
        f"Did you mean {near[0]!r}?" if near else f"Scores are {', '.join(SCORERS)}.",
    )
