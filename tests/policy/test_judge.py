"""The judge against a naive model of the contract's words."""

import math
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipflow.failures import CODES
from clipflow.policy.judge import Verdicts, fires, judge, score
from clipflow.policy.scorers.base import Evidence
from clipflow.schema import MEASURES
from clipflow.spec import PolicySpec, Rule

# 0.1 and 0.9 are not float32: a comparison in float64 would find the score beyond a bound that it equals.
NUMBERS = st.sampled_from([0.0, -0.0, 0.1, 0.9, 1 / 3, 16777217.0, -2.5]) | st.floats(-1e30, 1e30)
SCORES = NUMBERS | st.sampled_from([math.nan, math.inf, -math.inf])
KEYS = ("review_below", "review_above", "reject_below", "reject_above")
RULE = st.fixed_dictionaries(
    {"name": st.sampled_from(["b", "a", "zebra", "a_b", "m1"]), "score": st.just("blur")},
    optional=dict.fromkeys(KEYS, NUMBERS),
)
POLICIES = st.lists(RULE, max_size=4, unique_by=lambda rule: rule["name"])


def rounded(number: float) -> float:
    """The nearest float32."""
    (result,) = struct.unpack("f", struct.pack("f", number))
    return float(result)


def expected(rules: list[dict[str, Any]], scores: dict[str, float], failure: str | None) -> tuple[str, list[str]]:
    if failure is not None:
        return "failed", [failure]
    fired: dict[str, set[str]] = {"review": set(), "reject": set()}
    for rule in rules:
        value = rounded(scores[rule["name"]])
        for kind, names in fired.items():
            below, above = rule.get(f"{kind}_below"), rule.get(f"{kind}_above")
            if (below is not None and value < rounded(below)) or (above is not None and value > rounded(above)):
                names.add(rule["name"])
    status = "rejected" if fired["reject"] else "review" if fired["review"] else "accepted"
    return status, sorted(fired["reject"] | fired["review"])


def told(verdicts: Verdicts) -> list[tuple[str, list[str]]]:
    return list(zip(verdicts.status.to_pylist(), verdicts.reasons.to_pylist(), strict=True))


def policy_of(*rules: dict[str, Any]) -> PolicySpec:
    return PolicySpec.model_validate({"rules": rules})


@given(st.data(), POLICIES)
def test_every_row_is_judged_as_the_contract_says(data: st.DataObject, rules: list[dict[str, Any]]) -> None:
    failures = data.draw(st.lists(st.none() | st.sampled_from(sorted(CODES)), max_size=6))
    rows = [{rule["name"]: data.draw(SCORES) for rule in rules} for _ in failures]
    scores = {rule["name"]: np.array([row[rule["name"]] for row in rows], np.float32) for rule in rules}
    found = told(judge(policy_of(*rules), scores, failures))
    assert found == [expected(rules, row, failure) for row, failure in zip(rows, failures, strict=True)]


@given(NUMBERS)
@example(0.1)
def test_a_score_that_equals_its_bound_fires_nothing(bound: float) -> None:
    rule = Rule(name="a", score="blur", **dict.fromkeys(KEYS, bound))  # type: ignore[arg-type]
    at_bound = np.array([bound], np.float32)
    for kind in ("review", "reject"):
        assert not fires(rule, at_bound, kind).any()
        assert fires(rule, np.nextafter(at_bound, np.float32(np.inf)), kind).all()
        assert fires(rule, np.nextafter(at_bound, np.float32(-np.inf)), kind).all()


def test_an_unknown_score_fires_nothing() -> None:
    rule = Rule(name="a", score="blur", **dict.fromkeys(KEYS, 0.5))  # type: ignore[arg-type]
    assert told(judge(PolicySpec(rules=(rule,)), {"a": np.array([np.nan], np.float32)}, [None])) == [("accepted", [])]


@pytest.mark.parametrize("order", [("weak", "strong"), ("strong", "weak")])
def test_the_strongest_rule_decides_and_all_are_named(order: tuple[str, str]) -> None:
    by_name = {
        "weak": {"name": "weak", "score": "blur", "review_above": 0},
        "strong": {"name": "strong", "score": "entropy", "reject_above": 0},
    }
    ones = np.ones(1, np.float32)
    found = judge(policy_of(*(by_name[name] for name in order)), {"weak": ones, "strong": ones}, [None])
    assert told(found) == [("rejected", ["strong", "weak"])]


def test_no_policy_accepts_everything_that_did_not_fail() -> None:
    assert told(judge(PolicySpec(), {}, [None, "corrupt"])) == [("accepted", []), ("failed", ["corrupt"])]


def test_a_human_outranks_rules_and_standing_reasons_but_no_failure() -> None:
    policy = policy_of({"name": "r", "score": "blur", "reject_above": 0})
    scores = {"r": np.array([1, 1, 0, 0, 1], np.float32)}
    failures, standing = [None, None, None, "corrupt", None], [None, "source_deleted", "source_deleted", None, None]
    found = judge(policy, scores, failures, standing, ["accepted", None, None, "accepted", "rejected"])
    assert told(found) == [
        ("accepted", ["r"]),
        ("rejected", ["r", "source_deleted"]),
        ("rejected", ["source_deleted"]),
        ("failed", ["corrupt"]),
        ("rejected", ["r"]),
    ]


@pytest.mark.parametrize("measure", MEASURES)
def test_a_measure_is_its_own_score(measure: str) -> None:
    columns = {name: [0.0, 0.0] for name in MEASURES} | {measure: [0.1, None]}
    evidence = Evidence(pa.table(columns), np.zeros((2, 4)), lambda texts: np.zeros((len(texts), 4), np.float32))
    by_rule, stored = score(policy_of({"name": "r", "score": measure}), {}, evidence)
    assert by_rule["r"].dtype == np.float32
    assert by_rule["r"][0] == np.float32(0.1)
    assert np.isnan(by_rule["r"][1])
    assert stored == {}, "the measure has a column of its own already"
