"""Policies that cannot be applied are refused before anything is fetched."""

from dataclasses import replace
from typing import Any

import pytest

from clipflow.encoders import describe
from clipflow.errors import PolicyError
from clipflow.policy.check import check_policy, score_columns
from clipflow.policy.scorers import SCORERS, find_scorer
from clipflow.schema import MEASURES
from clipflow.spec import EncoderSpec, PolicySpec
from tests.catalogues import STUB

INFO = describe(EncoderSpec.model_validate(STUB))
BLIND = replace(INFO, has_text=False)


DUPLICATES = {"exact_duplicate", "perceptual_duplicate", "near_duplicate", "semdedup"}


def policy(**rule: Any) -> PolicySpec:
    return PolicySpec.model_validate({"rules": [{"name": "mine", **rule}]})


def test_every_measure_and_the_caption_are_scores() -> None:
    assert set(SCORERS) == {*MEASURES, "caption", "clip_score", "zero_shot", "head", "expression", *DUPLICATES}
    for measure in MEASURES:
        check_policy(policy(score=measure, reject_below=1, review_above=2), BLIND, captions=False)
    check_policy(policy(score="caption", review_below=0.2), INFO, captions=True)


def test_no_rules_are_fine_anywhere() -> None:
    check_policy(PolicySpec(), BLIND, captions=False)


@pytest.mark.parametrize(
    ("score", "mend"), [("min_sid", "'min_side'"), ("captoin", "'caption'"), ("zeroshot", "'zero_shot'")]
)
def test_an_unknown_score_is_told_the_nearest(score: str, mend: str) -> None:
    with pytest.raises(PolicyError, match=f"Rule 'mine' scores by '{score}', which is no score") as caught:
        check_policy(policy(score=score), INFO, captions=False)
    assert caught.value.mend == f"Did you mean {mend}?"


def test_a_score_like_no_other_is_told_all() -> None:
    with pytest.raises(PolicyError) as caught:
        check_policy(policy(score="qqqq"), INFO, captions=False)
    assert caught.value.mend == f"Scores are {', '.join(SCORERS)}."


@pytest.mark.parametrize("more", [{}, {"clusters": 2}, {"epsilon": 0.1}, {"clusters": 0, "epsilon": 0.1}])
def test_semdedup_needs_its_parameters(more: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="Rule 'mine': semdedup needs"):
        check_policy(policy(score="semdedup", **more), INFO, captions=False)


@pytest.mark.parametrize("key", [{"labels": {"a": "b"}}, {"templates": ["{}"]}, {"sql": "1"}, {"clusters": 2}])
def test_a_parameter_of_another_score_is_refused(key: dict[str, Any]) -> None:
    (name,) = key
    with pytest.raises(PolicyError, match=f"Rule 'mine': {name} is no parameter of the score blur"):
        check_policy(policy(score="blur", **key), INFO, captions=False)


@pytest.mark.parametrize("score", ["caption", "clip_score"])
def test_a_caption_score_needs_captions(score: str) -> None:
    with pytest.raises(PolicyError, match=f"Rule 'mine' scores by {score}, but the source names no captions") as caught:
        check_policy(policy(score=score), INFO, captions=False)
    assert "source.caption" in caught.value.mend


@pytest.mark.parametrize("score", ["caption", "clip_score", "zero_shot"])
def test_a_score_of_texts_needs_a_text_tower(score: str) -> None:
    with pytest.raises(PolicyError, match="no text tower"):
        check_policy(policy(score=score), BLIND, captions=True)


CROSSED = [
    {"reject_below": 0.3, "review_below": 0.2},
    {"reject_above": 0.8, "review_above": 0.9},
    {"reject_below": 0.5, "reject_above": 0.4},
    {"review_below": 0.5, "review_above": 0.4},
    {"review_below": 0.5, "reject_above": 0.4},
]


@pytest.mark.parametrize("bounds", CROSSED)
def test_bounds_that_cross_are_refused(bounds: dict[str, float]) -> None:
    with pytest.raises(PolicyError, match="Rule 'mine': its bounds cross"):
        check_policy(policy(score="blur", **bounds), INFO, captions=False)


def test_bounds_that_ascend_are_fine() -> None:
    bounds = {"reject_below": 1, "review_below": 1, "review_above": 2, "reject_above": 3}
    check_policy(policy(score="blur", **bounds), INFO, captions=False)


def test_only_scores_that_have_no_column_add_one() -> None:
    assert score_columns(policy(score="min_side")) == []
    assert score_columns(policy(score="caption")) == ["score_mine"]
    assert find_scorer("caption", "mine").needs_caption
