"""When a verdict moved, and since when bytes are known."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lance

import clipflow
from clipflow.rejudge import rejudge
from clipflow.spec import JobSpec, PolicySpec
from clipflow.table.first_seen import BY_FIRST_SEEN, ORDER
from clipflow.table.review import Review, review
from clipflow.uri import canonical, image_id
from tests.catalogues import draw, job, picture, rows
from tests.s3 import S3Server

COPIES = {"rules": [{"name": "copy", "score": "exact_duplicate", "reject_above": 0.5}]}


def run(spec: JobSpec) -> dict[str, Any]:
    return clipflow.run(spec, ray="none").document()


def by_name(table: Path, *columns: str) -> dict[str, dict[str, Any]]:
    found = rows(table, ["image_id", "source_uri", *columns])
    return {row["source_uri"].rpartition("/")[2]: row for row in found.values()}


def test_status_at_moves_with_the_status_and_judged_at_with_every_judgement(tmp_path: Path) -> None:
    table = tmp_path / "t.lance"
    draw(tmp_path / "images", range(4))
    (tmp_path / "images/large.png").write_bytes(picture(9, 300, 300))
    run(job(tmp_path / "images", table))
    before = by_name(table, "status_at", "judged_at", "status")
    assert all(row["status_at"] == row["judged_at"] for row in before.values())
    small = PolicySpec.model_validate({"rules": [{"name": "small", "score": "min_side", "reject_below": 100}]})
    assert rejudge(str(table), small).changed == 4
    after = by_name(table, "status_at", "judged_at", "status")
    assert {name for name in after if after[name]["status_at"] != before[name]["status_at"]} == set(after) - {
        "large.png"
    }
    assert all(row["judged_at"] > before[name]["judged_at"] for name, row in after.items()), "all have another policy"
    version = lance.dataset(str(table)).version
    assert rejudge(str(table), small).changed == 0
    assert lance.dataset(str(table)).version == version
    # A human who says what the rules say moves nothing.
    key = after["large.png"]["image_id"]
    review(str(table), [key], Review("accepted", "ann", "fine"))
    assert by_name(table, "status_at", "judged_at", "status")["large.png"] == after["large.png"]
    review(str(table), [key], Review("rejected", "ann", "not fine"))
    assert by_name(table, "status_at")["large.png"]["status_at"] > after["large.png"]["status_at"]


def test_new_bytes_of_the_same_status_keep_its_time(tmp_path: Path) -> None:
    table = tmp_path / "t.lance"
    draw(tmp_path / "images", range(2))
    for policy in ({}, COPIES):
        spec = job(tmp_path / "images", table, policy=policy)
        if policy:
            rejudge(str(table), PolicySpec.model_validate(policy))
        run(spec)
        before = by_name(table, "status_at", "first_seen_at", "judged_at")
        (tmp_path / "images/000000.png").write_bytes(picture(70 + len(policy)))
        assert run(spec)["embedded"] == 1
        after = by_name(table, "status_at", "first_seen_at", "judged_at")
        assert after["000001.png"] == before["000001.png"]
        assert after["000000.png"]["status_at"] == before["000000.png"]["status_at"]
        assert after["000000.png"]["judged_at"] > before["000000.png"]["judged_at"]
        assert after["000000.png"]["first_seen_at"] > before["000000.png"]["first_seen_at"]


def test_an_original_is_not_told_by_a_time_that_an_uploader_chose(tmp_path: Path) -> None:
    table, images = tmp_path / "t.lance", tmp_path / "images"
    images.mkdir()
    (images / "original.png").write_bytes(picture(1))
    spec = job(images, table, policy=COPIES)
    run(spec)
    (images / "a-copy.png").write_bytes(picture(1))
    os.utime(images / "a-copy.png", (0, 0))
    run(spec)
    found = by_name(table, "status", "first_seen_at")
    assert (found["original.png"]["status"], found["a-copy.png"]["status"]) == ("accepted", "rejected")
    # Touched, and listed with another time: the same bytes under the same address were seen then.
    os.utime(images / "original.png")
    assert run(spec)["reused"] == 1
    assert by_name(table, "status", "first_seen_at") == found


def test_in_a_bucket_the_store_says_since_when(s3: S3Server, monkeypatch: Any, tmp_path: Path) -> None:
    s3.use(monkeypatch)
    uri = s3.put("first-seen/a.png", picture(1))
    table = tmp_path / "t.lance"
    (tmp_path / "m.csv").write_text(f"uri,at\n{uri},2001-01-01T00:00:00Z\n")
    run(job("s3://open/first-seen/", table))
    run(job(tmp_path / "m.csv", tmp_path / "o.lance", source={"kind": "manifest", "modified": "at"}))
    told, listed = (by_name(one, "first_seen_at", "source_modified")["a.png"] for one in (tmp_path / "o.lance", table))
    assert listed["first_seen_at"] == listed["source_modified"]
    assert told["source_modified"].year == 2001
    assert told["first_seen_at"] == listed["first_seen_at"], "a manifest does not choose it"


def test_a_table_of_before_keeps_its_order_until_it_is_judged(tmp_path: Path) -> None:
    table, images = tmp_path / "t.lance", tmp_path / "images"
    images.mkdir()
    spec = job(images, table, policy=COPIES)
    (images / "original.png").write_bytes(picture(1))
    run(spec)
    dataset = lance.dataset(str(table))
    kept = {key.decode(): value.decode() for key, value in dataset.schema.metadata.items() if key != ORDER.encode()}
    dataset.update_schema_metadata(kept, replace=True)
    (images / "copy.png").write_bytes(picture(1))
    os.utime(images / "copy.png", (10, 10))
    run(spec)
    told = {name: row["status"] for name, row in by_name(table, "status").items()}
    assert told == {"original.png": "rejected", "copy.png": "accepted"}, "by the time that the file says"
    policy = PolicySpec.model_validate(COPIES)
    assert rejudge(str(table), policy, dry_run=True).changed == 2
    assert ORDER.encode() not in lance.dataset(str(table)).schema.metadata
    rejudge(str(table), policy)
    assert lance.dataset(str(table)).schema.metadata[ORDER.encode()].decode() == BY_FIRST_SEEN
    version = lance.dataset(str(table)).version
    rejudge(str(table), policy)
    assert lance.dataset(str(table)).version == version


def test_all_rows_of_a_run_share_one_moment(tmp_path: Path) -> None:
    table = tmp_path / "t.lance"
    draw(tmp_path / "images", range(5))
    began = datetime.now(UTC)
    run(job(tmp_path / "images", table, table={"commit_rows": 1}))
    moments = {row["first_seen_at"] for row in rows(table).values()}
    assert len(moments) == 1
    assert began <= moments.pop() <= began + timedelta(minutes=10)
    assert image_id(canonical(tmp_path / "images/000000.png")) in rows(table)
    assert json.loads(lance.dataset(str(table)).schema.metadata[b"encoder"])
