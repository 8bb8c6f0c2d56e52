"""The job as an object: what makes two jobs the same, and how values may be written."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clipflow.spec import ComputeSpec, JobSpec, Limits, PolicySpec, Rule, SourceSpec, digest

JOB: dict[str, Any] = {
    "name": "n",
    "source": {"uri": "a"},
    "encoder": {"model": "demo"},
    "table": {"uri": "t.lance"},
}
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,5}(_[a-z0-9]{1,3})?", fullmatch=True)
BOUNDS = st.floats(-1e6, 1e6) | st.none()
RULES = st.lists(
    st.builds(
        Rule,
        name=NAMES,
        score=st.sampled_from(["blur", "min_side", "caption"]),
        review_below=BOUNDS,
        reject_above=BOUNDS,
    ),
    max_size=5,
    unique_by=lambda rule: rule.name,
)
CONTEXTS = st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.none(), max_size=3)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("6h", 21600), ("2 d", 172800), ("PT6H", 21600), (5, 5), (timedelta(days=1), 86400)],
)
def test_durations(text: object, seconds: int) -> None:
    assert SourceSpec(uri="a", lateness=text).lateness == timedelta(seconds=seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "size"), [("64MB", 64_000_000), ("1KiB", 1024), ("2GB", 2_000_000_000), (7, 7), ("7", 7)]
)
def test_sizes(text: object, size: int) -> None:
    assert Limits(max_bytes=text).max_bytes == size  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["100e6", "1e8", 1e8, 100_000_000, "100000000"])
def test_whole_numbers_may_be_written_with_an_exponent(text: object) -> None:
    assert Limits(max_pixels=text).max_pixels == 100_000_000  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["1.5", 1.5, "many", "inf", "nan", 0, -1])
def test_other_numbers_are_not_whole(text: object) -> None:
    with pytest.raises(ValidationError):
        Limits(max_pixels=text)  # type: ignore[arg-type]


def test_encoders_are_at_least_and_at_most() -> None:
    assert ComputeSpec(encoders=(2, 2)).encoders == (2, 2)
    for wrong in [(0, 1), (2, 1)]:
        with pytest.raises(ValidationError, match="at least, at most"):
            ComputeSpec(encoders=wrong)


def test_a_job_does_not_change() -> None:
    spec = JobSpec.model_validate(JOB)
    with pytest.raises(ValidationError, match="frozen"):
        spec.name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        spec.source.uri = "other"


@given(CONTEXTS, CONTEXTS)
def test_the_fingerprint_does_not_see_who_started_the_job(one: dict[str, Any], other: dict[str, Any]) -> None:
    jobs = [JobSpec.model_validate({**JOB, "context": context}) for context in (one, other)]
    assert jobs[0].fingerprint == jobs[1].fingerprint == JobSpec.model_validate(JOB).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"name": "m"},
        {"source": {"uri": "b"}},
        {"source": {"uri": "a", "lateness": "1h"}},
        {"encoder": {"model": "demo", "precision": "fp32"}},
        {"table": {"uri": "t.lance", "commit_rows": 1}},
        {"limits": {"max_attempts": 1}},
        {"policy": {"rules": [{"name": "a", "score": "blur"}]}},
        {"decode": "draft"},
    ],
)
def test_the_fingerprint_sees_everything_else(change: dict[str, Any]) -> None:
    assert JobSpec.model_validate({**JOB, **change}).fingerprint != JobSpec.model_validate(JOB).fingerprint


@given(RULES, st.randoms())
def test_the_order_of_rules_does_not_make_another_policy(rules: list[Rule], random: Any) -> None:
    shuffled = list(rules)
    random.shuffle(shuffled)
    assert PolicySpec(rules=tuple(rules)).policy_id == PolicySpec(rules=tuple(shuffled)).policy_id


@given(RULES, RULES)
def test_policies_are_the_same_exactly_when_their_rules_are(one: list[Rule], other: list[Rule]) -> None:
    same = sorted(one, key=lambda rule: rule.name) == sorted(other, key=lambda rule: rule.name)
    assert (PolicySpec(rules=tuple(one)).policy_id == PolicySpec(rules=tuple(other)).policy_id) == same


@given(RULES)
def test_a_job_survives_json(rules: list[Rule]) -> None:
    spec = JobSpec.model_validate({**JOB, "policy": PolicySpec(rules=tuple(rules))})
    assert JobSpec.model_validate(json.loads(json.dumps(spec.body()))) == spec


def test_the_policy_of_no_rules_is_what_it_is_without_a_policy() -> None:
    empty = JobSpec.model_validate({**JOB, "policy": {"rules": []}})
    assert empty.policy.policy_id == JobSpec.model_validate(JOB).policy.policy_id


def test_a_digest_is_of_the_canonical_json() -> None:
    assert digest({"b": 1, "a": "ü"}) == digest({"a": "ü", "b": 1})
    # printf '{"a":"ü","b":1}' | sha256sum
    assert digest({"a": "ü", "b": 1}) == "4e7ff4080b1a00acdaf71eb0cdf2d504aa8068bbb375c002eac2df3f064047a7"
    assert digest({"a": 1}) != digest({"a": 1.5})
