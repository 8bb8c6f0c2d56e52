"""The verdict from stored rows is the run's, and what is said to change it does."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clipflow
from clipflow.explain.changes import would_change
from clipflow.policy.finding import Finding, findings
from clipflow.policy.judge import fires, judge
from clipflow.policy.verdict import stored_scores, verdicts
from clipflow.schema import MEASURES
from clipflow.spec import PolicySpec, Rule
from clipflow.table.images import open_images
from tests.catalogues import job, picture
from tests.examples import examples

BOUNDS = ("reject_below", "review_below", "review_above", "reject_above")
NUMBERS = st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.6, 0.9, 1.0, 2.5])
SCORES = NUMBERS | st.floats(-1, 4, width=32) | st.just(math.nan)


@st.composite
def bounds(draw: st.DrawFn) -> dict[str, Any]:
    """Some of the four, ascending; neighbours may be equal."""
    keys = draw(st.lists(st.sampled_from(BOUNDS), unique=True))
    values = sorted(draw(st.lists(NUMBERS, min_size=len(keys), max_size=len(keys))))
    return dict(zip(sorted(keys, key=BOUNDS.index), values, strict=True))


@st.composite
def policies(draw: st.DrawFn) -> PolicySpec:
    names = draw(st.lists(st.sampled_from("abcd"), unique=True))
    return PolicySpec(rules=tuple(Rule(name=name, score="blur", **draw(bounds())) for name in names))


def found_in(policy: PolicySpec, scores: dict[str, float]) -> list[Finding]:
    rounded = {name: float(np.float32(score)) for name, score in scores.items()}
    return [Finding(rule, None if math.isnan(rounded[rule.name]) else rounded[rule.name]) for rule in policy.rules]


def status_of(policy: PolicySpec, scores: dict[str, float]) -> str:
    by_rule = {name: np.array([score], np.float32) for name, score in scores.items()}
    return str(judge(policy, by_rule, [None]).status[0].as_py())


@given(policies(), st.data())
def test_the_bounds_that_a_finding_names_are_those_the_judge_sees(policy: PolicySpec, data: st.DataObject) -> None:
    for finding in found_in(policy, {rule.name: data.draw(SCORES) for rule in policy.rules}):
        score = np.array([math.nan if finding.value is None else finding.value], np.float32)
        for kind in ("review", "reject"):
            assert any(key.startswith(kind) for key in finding.fired) == fires(finding.rule, score, kind)[0]


@examples(150)
@given(policies(), st.data())
def test_what_would_change_a_verdict_changes_it_and_no_way_is_left_out(policy: PolicySpec, data: st.DataObject) -> None:
    scores = {rule.name: data.draw(SCORES) for rule in policy.rules}
    status = status_of(policy, scores)
    ways = would_change(found_in(policy, scores), status)
    for way in ways:
        assert way["to"] != status
        moved = dict(scores)
        for one in way["conditions"]:
            bound = np.float32(one["bound"])
            beyond = {"<": np.nextafter(bound, np.float32(-9)), ">": np.nextafter(bound, np.float32(9))}
            moved[one["rule"]] = float(beyond.get(one["must"], bound))
            assert one["must"] in way["if"]
        assert status_of(policy, moved) == way["to"]
        for one in way["conditions"]:
            assert status_of(policy, moved | {one["rule"]: scores[one["rule"]]}) != way["to"], "a condition too many"
    if status != "accepted":
        assert "accepted" in {way["to"] for way in ways}
    reachable = {status_of(policy, scores | {rule.name: at}) for rule in policy.rules for at in (-99.0, 99.0)}
    if status != "rejected" and "rejected" in reachable and not any(math.isnan(score) for score in scores.values()):
        assert {way["to"] for way in ways} & {"review", "rejected"}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Rows of every kind: with and without caption, failed, and three reviewed."""
    folder = tmp_path_factory.mktemp("verdict")
    lines = ["uri,caption"]
    for number in range(12):
        (folder / f"{number}.png").write_bytes(picture(number, width=30 + 4 * number, height=60))
        lines.append(f"{folder}/{number}.png,{'a red thing' if number % 3 else ''}")
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "manifest.csv").write_text("\n".join([*lines, f"{folder}/broken.png,broken"]))
    policy = {
        "rules": [
            {"name": "narrow", "score": "min_side", "review_below": 60, "reject_below": 40},
            {"name": "fits", "score": "caption", "review_below": 0.1, "reject_below": -0.1},
        ]
    }
    source = {"kind": "manifest", "caption": "caption"}
    spec = job(folder / "manifest.csv", folder / "t.lance", source=source, policy=policy)
    clipflow.run(spec, ray="none")
    return spec


def whole(spec: Any) -> pa.Table:
    from clipflow.table.address import TableAddress

    return open_images(TableAddress.of(spec.table.uri)).to_table()


def told(policy: PolicySpec, rows: pa.Table) -> tuple[list[str], list[list[str]]]:
    found = verdicts(policy, rows)
    return found.status.to_pylist(), found.reasons.to_pylist()


def test_stored_rows_say_what_the_run_said(table: Any) -> None:
    rows = whole(table)
    statuses, reasons = told(table.policy, rows)
    assert statuses == rows.column("status").to_pylist()
    assert reasons == rows.column("reasons").to_pylist()
    assert set(statuses) == {"accepted", "review", "rejected", "failed"}
    fits = stored_scores(table.policy, rows)["fits"]
    assert np.isnan(fits).sum() == rows.column("score_fits").null_count == 5


@examples(40)
@given(st.data())
def test_another_policy_over_stored_scores_is_judged_as_the_judge_judges(table: Any, data: st.DataObject) -> None:
    rules = [Rule(name="fits", score="caption", **data.draw(bounds()))]
    rules += [Rule(name=f"m_{name}", score=name, **data.draw(bounds())) for name in MEASURES]
    policy, rows = PolicySpec(rules=tuple(rules)), whole(table)
    verdict = data.draw(st.sampled_from([None, "accepted", "rejected"]))
    rows = rows.set_column(
        rows.schema.get_field_index("reviewed_verdict"),
        "reviewed_verdict",
        pa.array([verdict] * len(rows), pa.string()),
    )
    statuses, reasons = told(policy, rows)
    for number, row in enumerate(rows.to_pylist()):
        if row["status"] == "failed":
            assert (statuses[number], reasons[number]) == ("failed", row["reasons"])
            continue
        scores = {"fits": row["score_fits"]} | {f"m_{name}": row[name] for name in MEASURES}
        numbers = {name: math.nan if score is None else score for name, score in scores.items()}
        assert statuses[number] == (verdict or status_of(policy, numbers))
        found = findings(policy, rows)[number]
        assert [one.rule.name for one in found if one.fired] == reasons[number]


def test_a_rule_whose_column_the_table_lacks_fires_nothing(table: Any) -> None:
    policy = PolicySpec(rules=(Rule(name="new", score="caption", reject_below=1),))
    assert set(told(policy, whole(table))[0]) == {"accepted", "failed"}


def test_source_deleted_stands_beside_the_rules_and_outranks_a_human(tmp_path: Path) -> None:
    rows = pa.table(
        {
            "status": ["rejected", "rejected", "failed"],
            "reasons": [["source_deleted"], ["a", "source_deleted"], ["corrupt"]],
            "reviewed_verdict": pa.array([None, "accepted", "accepted"], pa.string()),
            "blur": pa.array([0.5, 0.5, None], pa.float32()),
        }
    )
    policy = PolicySpec(rules=(Rule(name="a", score="blur", review_above=0.1),))
    assert told(policy, rows) == (
        ["rejected", "rejected", "failed"],
        [["a", "source_deleted"], ["a", "source_deleted"], ["corrupt"]],
    )
