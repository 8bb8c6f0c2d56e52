"""The golden table opens, gives back every value, and a later version goes on with it."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import lance
import pytest

import clipflow
from clipflow.audit.audit import audit
from clipflow.cli import main
from clipflow.forget.forget import forget
from clipflow.rejudge import rejudge
from clipflow.spec import JobSpec, PolicySpec
from clipflow.table.maintain import maintain
from clipflow.uri import image_id
from tests.catalogues import rows
from tests.golden.images import BLOCKS, BUCKET, FORGOTTEN, LIST, blocks, bmp, first, later, manifest
from tests.golden.reading import HERE, PARTS, read
from tests.s3 import S3Server

EXPECTED: dict[str, Any] = json.loads((HERE / "expected.json").read_text("utf-8"))
ROWS = {row["image_id"]: row for row in EXPECTED["catalog.lance"]["rows"]}
# The store dates the same bytes anew, so what failed is tried again.
# The rules about duplicates.
TWINS = {"copy", "near"}
TRIED_AGAIN = sum(row["status"] == "failed" for row in ROWS.values())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A copy, to write to."""
    shutil.copytree(HERE / "table", tmp_path / "lake")
    return tmp_path / "lake/catalog.lance"


@pytest.fixture
def images(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The bucket as the last run saw it; the store dates the objects anew."""
    s3.use(monkeypatch)
    s3.make_bucket(BUCKET)
    found = first() | later()
    for key, data in found.items():
        s3.put(key, data, BUCKET)
    s3.put(LIST, manifest(list(found)), BUCKET)
    return found


def job(table: Path) -> JobSpec:
    """The golden job over a copy of its table, in one commit.

    Several commits would try what is no matter of old data: whether one commit of a run finds the rows that an
    earlier one of it wrote anew, for the sake of duplicates.
    """
    body = json.loads((HERE / "job.json").read_text("utf-8"))
    return JobSpec.model_validate({**body, "table": {"uri": str(table), "commit_rows": 1000}})


def key(name: str) -> str:
    return image_id(f"s3://{BUCKET}/{name}")


def reviewed(found: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What people decided, by image."""
    names = ("status", "reviewed_verdict", "reviewed_by", "reviewed_why")
    return {
        image: tuple(row.get(name) for name in names) for image, row in found.items() if row.get("reviewed_verdict")
    }


def twins(found: dict[str, dict[str, Any]]) -> Counter[str]:
    return Counter(reason for row in found.values() for reason in row["reasons"] if reason in TWINS)


def vectors(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {image: row.get("vector") for image, row in found.items()}


def test_every_value_is_as_it_was_written(table: Path) -> None:
    for part in PARTS:
        assert read(table.parent / part) == EXPECTED[part]


def test_the_data_holds_what_it_is_for() -> None:
    assert {row["status"] for row in ROWS.values()} == {"accepted", "review", "rejected", "failed"}
    failures = {row["reasons"][0] for row in ROWS.values() if row["status"] == "failed"}
    assert failures == {"empty", "not_an_image", "truncated", "too_many_pixels", "unsupported_format", "not_found"}
    fired = {name for row in ROWS.values() for name in row["reasons"]} - failures
    assert fired == {"small", "copy", "near", "red"}
    assert all(any(row.get(name) for row in ROWS.values()) for name in ("match_copy", "match_near", "attr_uploader"))
    assert {row[1:3] for row in reviewed(ROWS).values()} == {
        ("accepted", "ann"),
        ("rejected", "bob"),
        ("rejected", "Zoë"),
    }
    verbs = [row["verb"] for row in EXPECTED["catalog_runs.lance"]["rows"]]
    assert sorted(verbs) == ["forget", "judge", "maintain", "review", "review", "review", "run", "run"]
    assert len(EXPECTED["catalog.lance"]["versions"]) > 4


@pytest.mark.parametrize("name", ["source_uri", "vector", "score_red__blue", "reviewed_why", "attr_uploader"])
def test_a_renamed_column_is_noticed(table: Path, name: str) -> None:
    renamed: Any = {"path": name, "name": f"{name}_2"}
    lance.dataset(str(table)).alter_columns(renamed)
    assert read(table)["schema"] != EXPECTED["catalog.lance"]["schema"]
    assert read(table)["rows"] != EXPECTED["catalog.lance"]["rows"]


def test_sql_sees_rows_and_runs(table: Path) -> None:
    opened = clipflow.open(table)
    counted = opened.sql("select status, count(*) as n from images group by all")
    statuses = [row["status"] for row in ROWS.values()]
    assert {row["status"]: row["n"] for row in counted} == {status: statuses.count(status) for status in statuses}
    found = {row["image_id"]: row for row in opened.sql("select image_id, vector from images")}
    assert vectors(found) == vectors(ROWS)
    runs = {row["run_id"]: row for row in opened.sql("select run_id, verb, embedded, spec, policy from runs")}
    assert runs.keys() == {row["run_id"] for row in EXPECTED["catalog_runs.lance"]["rows"]}
    for row in EXPECTED["catalog_runs.lance"]["rows"]:
        assert runs[row["run_id"]] == {name: row.get(name) for name in runs[row["run_id"]]}


def test_search_finds_what_a_text_names(table: Path) -> None:
    opened = clipflow.open(table)
    # The stub encoder gives a colour's word the vector of a plain image of it.
    assert opened.search("blue", k=1, everything=True)[0]["source_uri"] == f"s3://{BUCKET}/uploads/blue.bmp"
    hits = opened.search("anything", k=99)
    assert {hit["image_id"] for hit in hits} == {i for i, row in ROWS.items() if row["status"] == "accepted"}
    before = EXPECTED["catalog.lance"]["tags"]["published"]
    assert key("uploads/20.bmp") not in rows(table, ["image_id"], version=before)
    assert opened.search("red", k=99, everything=True, version=before)


def test_search_finds_what_looks_like_a_picture(table: Path, tmp_path: Path) -> None:
    (tmp_path / "red.bmp").write_bytes(bmp(BLOCKS * BLOCKS * [(255, 0, 0)], 128, 64))
    (hit,) = clipflow.open(table).search(image=tmp_path / "red.bmp", k=1, everything=True)
    assert hit["source_uri"] == f"s3://{BUCKET}/uploads/red.bmp"


@pytest.mark.parametrize("image", ROWS)
def test_every_image_is_explained(table: Path, image: str) -> None:
    found = clipflow.open(table).explain(image)
    assert ROWS[image]["source_uri"] in found.text()
    assert ROWS[image]["status"] in found.text()
    assert found.html()


def test_audit_counts_the_same(table: Path) -> None:
    report = audit(str(table), by=["uploader"]).document()
    statuses = [row["status"] for row in ROWS.values()]
    counted = {status: statuses.count(status) for status in statuses}
    assert {status: report[status] for status in counted} == counted
    assert {rule["rule"]: rule["reject"] for rule in report["rules"]}["copy"] == 2
    assert (report["people"]["accepted"], report["people"]["rejected"], report["runs"]["n"]) == (1, 3, 8)


def test_the_queue_is_the_same(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["review", str(table), "--list", "-k", "50", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    waiting = {image for image, row in ROWS.items() if row["status"] == "review"}
    assert {row["image_id"] for row in listed["rows"]} == waiting


def test_the_command_line_reads_it_in_a_process_of_its_own(table: Path) -> None:
    call = [sys.executable, "-m", "clipflow", "sql", str(table), "select * exclude (vector) from images", "--json"]
    done = subprocess.run(call, capture_output=True, text=True, env=dict(os.environ), timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = {row["image_id"]: row for row in json.loads(done.stdout)}
    assert found.keys() == ROWS.keys()
    for image, row in found.items():
        plain = {name: value for name, value in ROWS[image].items() if name in ("status", "reasons", "caption", "blur")}
        assert {name: row[name] for name in plain} == plain


def test_a_run_over_the_same_bytes_embeds_nothing_and_loses_nothing(table: Path, images: dict[str, bytes]) -> None:
    report = clipflow.run(job(table), ray="none", progress=False).document()
    assert (report["listed"], report["forgotten"]) == (len(images) + 1, 1)
    assert (report["embedded"], report["failed"]) == (0, TRIED_AGAIN)
    found = rows(table)
    assert vectors(found) == vectors(ROWS)
    same = ("content_sha256", "caption", "encoder_id", "policy_id", "score_red", "score_fits")
    for image, row in found.items():
        assert {name: row[name] for name in same} == {name: ROWS[image].get(name) for name in same}
        assert set(row["reasons"]) - TWINS == set(ROWS[image]["reasons"]) - TWINS
        if TWINS.isdisjoint([*row["reasons"], *ROWS[image]["reasons"]]):
            assert row["status"] == ROWS[image]["status"]
    # Which of two alike came first follows from the store's new dates, in whole seconds; one of them is rejected.
    assert twins(found) == twins(ROWS)
    assert reviewed(found) == reviewed(ROWS)
    # The runs of the golden version stand beside the new one.
    assert len(clipflow.open(table).sql("select run_id from runs")) == len(EXPECTED["catalog_runs.lance"]["rows"]) + 1


def test_a_new_image_is_one_row_more(table: Path, images: dict[str, bytes], s3: S3Server) -> None:
    s3.put("uploads/new.bmp", bmp(blocks(2000)), BUCKET)
    s3.put(LIST, manifest([*images, "uploads/new.bmp"]), BUCKET)
    try:
        report = clipflow.run(job(table), ray="none", progress=False).document()
    finally:
        s3.delete("uploads/new.bmp", BUCKET)
    assert report["embedded"] == 1
    found = rows(table)
    assert found.keys() == {*ROWS, key("uploads/new.bmp")}
    assert found[key("uploads/new.bmp")]["status"] == "accepted"
    assert found[key("uploads/new.bmp")]["encoder_id"] == EXPECTED["catalog.lance"]["metadata"]["encoder_id"]


def test_another_policy_moves_rows_and_no_verdict_of_a_human(table: Path) -> None:
    policy = job(table).policy.model_dump(mode="json", exclude_none=True)
    small = next(rule for rule in policy["rules"] if rule["name"] == "small")
    small["reject_below"] = small["review_below"] = 60
    report = rejudge(str(table), PolicySpec.model_validate(policy))
    # Every stored score is used as it stands.
    assert report.changed > 5
    found = rows(table)
    people = reviewed(found)
    assert people == reviewed(ROWS)
    judged = [row for image, row in found.items() if row["status"] != "failed" and image not in people]
    assert {row["status"] for row in judged} == {"rejected"}
    assert vectors(found) == vectors(ROWS)


def test_a_rule_on_a_measure_that_came_later_fires_nowhere(table: Path) -> None:
    rules = [
        {"name": "broken", "score": "damaged", "reject_above": 0.5},
        {"name": "odd", "score": "expression", "sql": "damaged + 1", "reject_above": 0.5},
    ]
    rejudge(str(table), PolicySpec.model_validate({"rules": rules}))
    people = reviewed(rows(table))
    judged = [row for image, row in rows(table).items() if row["status"] != "failed" and image not in people]
    assert {(row["status"], *row["reasons"], row["score_odd"]) for row in judged} == {("accepted", None)}


def test_an_image_is_forgotten_and_both_stay_away(table: Path, images: dict[str, bytes]) -> None:
    gone = f"s3://{BUCKET}/uploads/20.bmp"
    receipt = forget(str(table), uris=[gone])
    assert (receipt.forgotten, receipt.verified) == (1, True)
    assert rows(table).keys() == ROWS.keys() - {image_id(gone)}
    report = clipflow.run(job(table), ray="none", progress=False).document()
    assert (report["forgotten"], report["embedded"]) == (2, 0)
    assert rows(table).keys() == ROWS.keys() - {image_id(gone)}
    assert key(FORGOTTEN) not in rows(table)


def test_maintenance_changes_no_row(table: Path) -> None:
    report = maintain(str(table))
    assert report.fragments_after == 1
    assert lance.dataset(str(table), version="published").version == report.version
    after = read(table)
    assert {**after, "versions": None, "tags": None} == {**EXPECTED["catalog.lance"], "versions": None, "tags": None}
    assert maintain(str(table)).version == report.version


def test_a_verdict_is_taken_back(table: Path) -> None:
    names = [image for image, row in ROWS.items() if row.get("reviewed_verdict")]
    report = clipflow.open(table).review(names, None, by="ann", why="all over again")
    assert report.changed == len(names)
    assert not reviewed(rows(table))
