"""Duplicates are a function of the table's set of rows: however it came to be, and however it changes."""

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clipflow
from clipflow.forget.forget import forget
from clipflow.rejudge import rejudge
from clipflow.spec import JobSpec
from clipflow.uri import canonical, image_id
from clipflow.wish import Wish
from tests.catalogues import assert_unique_ever, job, picture, rows
from tests.examples import examples

RULES: dict[str, dict[str, Any]] = {
    "same": {"name": "same", "score": "exact_duplicate", "reject_above": 0.5},
    "alike": {"name": "alike", "score": "perceptual_duplicate", "reject_above": 0.9},
    "near": {"name": "near", "score": "near_duplicate", "reject_above": 0.9, "review_above": 0.5},
    "small": {"name": "small", "score": "min_side", "reject_below": 45},
}
POLICIES = st.lists(st.sampled_from(sorted(RULES)), min_size=1, unique=True).filter(lambda names: names != ["small"])
# A picture by its seed and height; the same seed in two heights is nearly the same picture, and one of them is small.
UPLOAD = st.tuples(st.integers(1, 5), st.sampled_from([40, 60, 64]), st.integers(0, 6))


def similarity(score: str, row: dict[str, Any], other: dict[str, Any]) -> float:
    if score == "exact_duplicate":
        return float(row["content_sha256"] == other["content_sha256"])
    if score == "perceptual_duplicate":
        return 1 - (int(row["phash"], 16) ^ int(other["phash"], 16)).bit_count() / 64
    left, right = (np.array(one["vector"], np.float64) for one in (row, other))
    return float(left @ right / np.linalg.norm(left) / np.linalg.norm(right))


def assert_told_from_the_set(table: Path, names: list[str]) -> None:
    """The contract's rule, row by row in the order of the rows, by plain loops."""
    found = sorted(rows(table).values(), key=lambda row: (row["first_seen_at"], row["image_id"]))
    rejected: dict[str, set[str]] = {}
    for at, row in enumerate(found):
        mine: set[str] = set()
        fired: set[str] = set()
        if "small" in names and row["min_side"] < 45:
            mine.add("small")
        scores: dict[str, float] = {}
        for name in names:
            if name == "small":
                continue
            rule = RULES[name]
            originals = [other for other in found[:at] if not rejected[other["image_id"]] - {name}]
            best = max((similarity(rule["score"], row, other) for other in originals), default=None)
            stored = row[f"score_{name}"]
            if best is None:
                assert stored == (0.0 if name == "same" else None)
                assert row[f"match_{name}"] is None
                continue
            scores[name] = best
            assert stored == pytest.approx(best, abs=1e-6)
            alike = [one["image_id"] for one in originals if similarity(rule["score"], row, one) >= best - 1e-7]
            assert row[f"match_{name}"] == (None if name == "same" and best == 0 else alike[0])
            if stored > np.float32(rule["reject_above"]):
                mine.add(name)
            elif "review_above" in rule and stored > np.float32(rule["review_above"]):
                fired.add(name)
        rejected[row["image_id"]] = mine
        assert row["reasons"] == sorted(mine | fired)
        assert row["status"] == ("rejected" if mine else "review" if fired else "accepted")


def upload(folder: Path, name: int, seed: int, height: int, day: int) -> None:
    path = folder / f"{name}.png"
    path.write_bytes(picture(seed, width=64, height=height))
    moment = 1_700_000_000 + 86_400 * day
    os.utime(path, (moment, moment))


def run(spec: JobSpec, **more: Any) -> dict[str, Any]:
    """A run over a folder whose times are the store's own, as a bucket's are: a later run may bring an earlier row."""

    def dated(batch: pa.RecordBatch) -> pa.RecordBatch:
        at = batch.schema.get_field_index("first_seen_at")
        return batch.set_column(at, batch.schema.field(at), batch.column("source_modified"))

    return clipflow.run(spec, ray="none", progress=False, wish=Wish(amend=dated), **more).document()


def spec_of(home: Path, names: list[str], **more: Any) -> JobSpec:
    policy = {"rules": [RULES[name] for name in names]}
    return job(home / "images", home / "t.lance", policy=policy, table={"vector": "float32", **more})


@examples(10, deep=60)
@given(
    names=POLICIES,
    batches=st.lists(st.lists(UPLOAD, min_size=1, max_size=5), min_size=1, max_size=4),
    commit_rows=st.sampled_from([1, 2, 100]),
    changes=st.lists(st.tuples(st.integers(0, 9), UPLOAD), max_size=2),
)
def test_whatever_the_order_of_batches_days_and_changes(
    names: list[str],
    batches: list[list[tuple[int, int, int]]],
    commit_rows: int,
    changes: list[tuple[int, tuple[int, int, int]]],
) -> None:
    home = Path(tempfile.mkdtemp())
    try:
        (home / "images").mkdir()
        spec = spec_of(home, names, commit_rows=commit_rows)
        at = 0
        for batch in batches:
            for seed, height, day in batch:
                upload(home / "images", at, seed, height, day)
                at += 1
            run(spec)
            assert_told_from_the_set(home / "t.lance", names)
        for name, (seed, height, day) in changes:
            upload(home / "images", name % at, seed, height, day)
            run(spec)
            assert_told_from_the_set(home / "t.lance", names)
    finally:
        shutil.rmtree(home)


@pytest.mark.parametrize("commit_rows", [2, 5])
def test_rows_that_one_commit_judges_anew_are_replaced_by_the_next(tmp_path: Path, commit_rows: int) -> None:
    """All objects get other bytes: each commit replaces some rows, and judges others anew that wait for theirs."""
    names = ["near", "same"]
    spec = spec_of(tmp_path, names, commit_rows=commit_rows)
    (tmp_path / "images").mkdir()
    for turn in range(4):
        for name in range(12):
            upload(
                tmp_path / "images", name, seed=(name + turn) % 4, height=64, day=turn * 20 + (name * (turn + 5)) % 12
            )
        report = run(spec)
        assert report["embedded"] + report["reused"] == 12
        assert len(rows(tmp_path / "t.lance")) == 12
        assert_told_from_the_set(tmp_path / "t.lance", names)
    assert_unique_ever(tmp_path / "t.lance")


def test_days_at_the_same_time(tmp_path: Path) -> None:
    names = sorted(RULES)
    specs = []
    for part in range(3):
        folder = tmp_path / f"part{part}" / "images"
        folder.mkdir(parents=True)
        for name in range(12):
            upload(folder, name, seed=name % 5, height=(40, 60, 64)[name % 3], day=(name * 7 + part * 5) % 9)
        spec = spec_of(tmp_path / f"part{part}", names, commit_rows=3)
        specs.append(spec.model_copy(update={"table": spec.table.model_copy(update={"uri": f"{tmp_path}/t.lance"})}))
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(run, specs))
    assert len(rows(tmp_path / "t.lance")) == 36
    assert_told_from_the_set(tmp_path / "t.lance", names)
    before = clipflow.open(tmp_path / "t.lance").images.version
    assert rejudge(f"{tmp_path}/t.lance", specs[0].policy).version == before, "judging changes nothing"


def test_a_review_makes_originals_and_takes_them(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for name in range(5):
        upload(tmp_path / "images", name, seed=1, height=64, day=name)
    spec = spec_of(tmp_path, ["near"])
    run(spec)
    in_order = sorted(rows(tmp_path / "t.lance").values(), key=lambda row: row["first_seen_at"])
    ids = [row["image_id"] for row in in_order]
    table = clipflow.open(tmp_path / "t.lance")

    def told() -> list[tuple[str, int | None]]:
        there = rows(tmp_path / "t.lance")
        found = [(there[key]["status"], there[key]["match_near"]) for key in ids]
        return [(status, ids.index(match) if match else None) for status, match in found]

    assert told() == [("accepted", None), *[("rejected", 0)] * 4]
    table.review([ids[0]], "rejected", by="ann", why="no original")
    assert told() == [("rejected", None), ("accepted", None), *[("rejected", 1)] * 3]
    table.review([ids[0]], None, by="ann", why="mistaken")
    assert told() == [("accepted", None), *[("rejected", 0)] * 4]
    version = table.images.version
    assert rejudge(str(tmp_path / "t.lance"), spec.policy).version == version


@pytest.mark.parametrize("names", [["near", "same"], ["small"]])
def test_forgetting_an_original_tells_its_copies_anew(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "images").mkdir()
    for name in range(5):
        upload(tmp_path / "images", name, seed=1, height=64, day=name)
    run(spec_of(tmp_path, ["near", "same"]))
    # By a policy without duplicates the columns of those before it still name the original.
    rejudge(str(tmp_path / "t.lance"), spec_of(tmp_path, names).policy)
    receipt = forget(str(tmp_path / "t.lance"), uris=[str(tmp_path / "images" / "0.png")], wait=0)
    assert (receipt.forgotten, receipt.verified) == (1, True)
    forgotten = image_id(canonical(tmp_path / "images" / "0.png"))
    found = rows(tmp_path / "t.lance")
    assert len(found) == 4
    assert forgotten not in {row[f"match_{name}"] for row in found.values() for name in ("near", "same")}
    assert_told_from_the_set(tmp_path / "t.lance", names)
    report = run(spec_of(tmp_path, names))
    assert (report["forgotten"], report["unchanged"]) == (1, 4)
