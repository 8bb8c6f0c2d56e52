"""Law 6: a verdict can be recomputed from the row, and equals what a run by the policy would have said."""

import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import clipflow
from clipflow.cli import main
from clipflow.rejudge import rejudge
from clipflow.spec import JobSpec, PolicySpec
from tests.catalogues import assert_unique_ever, draw, job, picture, rows
from tests.drivers import Driver, versions
from tests.examples import chances, examples, turns

BOUNDS = ("reject_below", "review_below", "review_above", "reject_above")
SCORES: dict[str, dict[str, Any]] = {
    "small": {"score": "min_side", "range": (38, 62)},
    "flat": {"score": "entropy", "range": (4, 8)},
    "fits": {"score": "caption", "range": (-0.5, 0.5)},
    "same": {"score": "exact_duplicate", "range": (0, 1)},
    "alike": {"score": "perceptual_duplicate", "range": (0.5, 1)},
    "near": {"score": "near_duplicate", "range": (-0.2, 1)},
    "mixed": {"score": "expression", "sql": "min_side / 100 + coalesce(length(caption), 0)", "range": (0, 9)},
    "reddish": {
        "score": "zero_shot",
        "labels": {"r": ["red", "crimson"], "b": "blue"},
        "label": "r",
        "closed": True,
        "range": (0, 1),
    },
    "crowd": {"score": "semdedup", "clusters": 2, "epsilon": 0.2, "range": (0, 1)},
}
TOLERANCE = 1e-4


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    """Rules over some of the scores, each with some bounds that do not cross."""
    rules = []
    for name in draw(st.lists(st.sampled_from(sorted(SCORES)), max_size=4, unique=True)):
        rule = dict(SCORES[name])
        low, high = rule.pop("range")
        keys = sorted(draw(st.lists(st.sampled_from(BOUNDS), max_size=2, unique=True)), key=BOUNDS.index)
        values = sorted(draw(st.floats(low, high)) for _ in keys)
        rules.append({"name": name, **rule, **dict(zip(keys, values, strict=True))})
    near = next((rule for rule in rules if rule["name"] == "near"), None)
    for rule in rules:
        if rule["name"] == "mixed" and near:
            # A rule that hangs on duplicates, and on which duplicates hang.
            rule["sql"] = "coalesce(score_near, 0) * 9"
    return {"rules": rules}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of pictures with captions, copies, near copies and failures; and the order of their days."""
    folder = tmp_path_factory.mktemp("law6")
    chance = random.Random(6)
    lines = []
    for name in range(24):
        path = folder / f"{name}.png"
        seed = chance.randrange(9)
        data = b"no picture" if name % 8 == 7 else picture(seed, width=64, height=chance.choice([40, 60, 64]))
        path.write_bytes(data)
        moment = 1_700_000_000 + 86_400 * chance.randrange(12)
        os.utime(path, (moment, moment))
        lines.append({"uri": str(path), "text": chance.choice([None, "red", "a green thing", "words"])})
    (folder / "list.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return folder


def spec_of(pictures: Path, table: Path, policy: dict[str, Any], **more: Any) -> JobSpec:
    source = {"kind": "manifest", "caption": "text"}
    return job(pictures / "list.jsonl", table, source=source, policy=policy, table={"vector": "float32", **more})


def verdicts(table: Path, policy: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What the policy says of each row; scores that are near a bound may fall on either side of it."""
    PolicySpec.model_validate(policy)
    names = [rule["name"] for rule in policy["rules"]]
    wanted = {"status", "reasons", "policy_id"}
    found = rows(table)
    scores = {name for row in found.values() for name in row if name.startswith(("score_", "match_"))}
    mine = {name for name in scores if name.partition("_")[2].partition("__")[0] in names}
    return {key: {name: row[name] for name in wanted | mine} for key, row in found.items()}


def assert_equal(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> None:
    assert one.keys() == other.keys()
    for key, row in one.items():
        assert row.keys() == other[key].keys()
        for name, value in row.items():
            there = other[key][name]
            if name.startswith("score_") and value is not None:
                assert there == pytest.approx(value, abs=TOLERANCE), (name, row, other[key])
            else:
                assert there == value, (name, row, other[key])


@examples(8, deep=40)
@given(first=policies(), second=policies(), commit_rows=st.sampled_from([5, 100]))
def test_judging_by_another_policy_is_running_by_it(
    pictures: Path, first: dict[str, Any], second: dict[str, Any], commit_rows: int
) -> None:
    home = Path(tempfile.mkdtemp())
    try:
        judged, run = home / "judged.lance", home / "run.lance"
        limits = {"commit_rows": commit_rows}
        clipflow.run(spec_of(pictures, judged, first, **limits), ray="none", progress=False)
        report = rejudge(str(judged), PolicySpec.model_validate(second))
        clipflow.run(spec_of(pictures, run, second, **limits), ray="none", progress=False)
        assert_equal(verdicts(judged, second), verdicts(run, second))
        again = rejudge(str(judged), PolicySpec.model_validate(second))
        assert (again.version, again.changed) == (report.version, 0)
        assert rejudge(str(run), PolicySpec.model_validate(second)).changed == 0
        # And the run by the new policy goes on where the judge ended.
        assert clipflow.run(spec_of(pictures, judged, second), ray="none").document()["version"] == report.version
        assert_unique_ever(judged)
    finally:
        shutil.rmtree(home)


STRICT = {"rules": [{"name": "small", "score": "min_side", "reject_below": 50}, {"name": "near", **SCORES["near"]}]}
del STRICT["rules"][1]["range"]
LOOSE = {"rules": [{"name": "small", "score": "min_side", "reject_below": 45}]}


def test_a_human_verdict_outlives_every_judgement(pictures: Path, tmp_path: Path) -> None:
    clipflow.run(spec_of(pictures, tmp_path / "t.lance", LOOSE), ray="none")
    table = clipflow.open(tmp_path / "t.lance")
    small = next(key for key, row in rows(tmp_path / "t.lance").items() if row["status"] == "rejected")
    table.review([small], "accepted", by="ann", why="a fine picture")
    for policy in (STRICT, LOOSE, STRICT):
        rejudge(str(tmp_path / "t.lance"), PolicySpec.model_validate(policy))
        row = rows(tmp_path / "t.lance")[small]
        assert (row["status"], row["reviewed_by"], row["reviewed_why"]) == ("accepted", "ann", "a fine picture")
        assert "small" in row["reasons"], "what the rules say stands beside it"
    table.review([small], None, by="ann", why="mistaken")
    clipflow.run(spec_of(pictures, tmp_path / "run.lance", STRICT), ray="none")
    assert_equal(verdicts(tmp_path / "t.lance", STRICT), verdicts(tmp_path / "run.lance", STRICT))


def test_a_judge_killed_at_any_moment_is_finished_by_the_next(pictures: Path, tmp_path: Path) -> None:
    chance = chances("a judge killed")
    clipflow.run(spec_of(pictures, tmp_path / "t.lance", LOOSE, commit_rows=4), ray="none")
    files = {name: tmp_path / f"{name}.json" for name in ("strict", "loose")}
    files["strict"].write_text(json.dumps(STRICT))
    files["loose"].write_text(json.dumps(LOOSE))
    began = time.monotonic()
    assert Driver("judge", tmp_path / "t.lance", "--policy", files["strict"]).wait() == 0
    whole, hits = time.monotonic() - began, 0
    for turn in range(turns(8)):
        judging = Driver("judge", tmp_path / "t.lance", "--policy", files["loose" if turn % 2 == 0 else "strict"])
        time.sleep(chance.uniform(0, whole))
        hits += judging.kill()
        assert_unique_ever(tmp_path / "t.lance")
    print(f"{hits} of {turns(8)} were still at work")
    assert main(["judge", str(tmp_path / "t.lance"), "--policy", str(files["strict"])]) == 0
    clipflow.run(spec_of(pictures, tmp_path / "run.lance", STRICT), ray="none")
    assert_equal(verdicts(tmp_path / "t.lance", STRICT), verdicts(tmp_path / "run.lance", STRICT))


def test_a_judge_beside_a_run(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(60))
    gate = tmp_path / "gate"
    gate.touch()

    def spec(table: str, policy: dict[str, Any], model: str = "stub:dim=16") -> JobSpec:
        encoder = {"model": model, "loader": "stub"}
        return job(tmp_path / "images", tmp_path / table, encoder=encoder, policy=policy, table={"commit_rows": 4})

    (tmp_path / "job.json").write_text(json.dumps(spec("t.lance", LOOSE, "stub:dim=16,gate=9").body()))
    running = Driver("run", tmp_path / "job.json", "--ray", "none", "--json", gate=gate, one_cpu=True)
    # Two commits of four rows come before the gate, and the empty table.
    assert running.until(lambda: versions(tmp_path / "t.lance") == 3, "two commits"), running.log
    rejudge(str(tmp_path / "t.lance"), PolicySpec.model_validate(STRICT))
    gate.unlink()
    assert running.wait() == 1
    document = json.loads(running.said)
    assert (document["error"]["class"], document["error"]["retryable"]) == ("PolicyChanged", True)
    policy_id = PolicySpec.model_validate(STRICT).policy_id
    found = rows(tmp_path / "t.lance")
    assert 8 <= len(found) < 60
    assert {row["policy_id"] for row in found.values()} == {policy_id}
    clipflow.run(spec("t.lance", STRICT), ray="none")
    clipflow.run(spec("run.lance", STRICT), ray="none")
    one, other = (verdicts(tmp_path / name, STRICT) for name in ("t.lance", "run.lance"))
    assert len(one) == 60
    assert_equal(one, other)
    assert_unique_ever(tmp_path / "t.lance")
