"""Retention: old rows go, old objects stay away, and a newer upload under the same address is welcome."""

import os
import time
from datetime import timedelta
from pathlib import Path

import lance

import clipflow
from clipflow.forget.forget import forget
from clipflow.uri import image_id
from tests.catalogues import draw, job, picture, rows
from tests.forget.catalogue import fill, holders, uri_of, values

DAY = 86_400


def age(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


def test_a_run_removes_what_is_older_and_does_not_fetch_it_again(tmp_path: Path) -> None:
    images, table = tmp_path / "images", tmp_path / "t.lance"
    draw(images, range(6))
    clipflow.run(job(images, table), ray="none")
    for number in (0, 1):
        # The entity tag of a file follows its time: these are old uploads, seen when they were new.
        age(images / f"{number:06}.png", 40)
    clipflow.run(job(images, table), ray="none")
    spec = job(images, table, retention_days=30)
    assert clipflow.plan(spec).forgotten == 2
    report = clipflow.run(spec, ray="none").document()
    assert (report["listed"], report["unchanged"], report["forgotten"], report["embedded"]) == (6, 4, 2, 0)
    old = {image_id(f"file://{images}/{number:06}.png") for number in (0, 1)}
    assert len(rows(table)) == 4
    assert not rows(table).keys() & old
    assert report["version"] == lance.dataset(str(table)).version
    again = clipflow.run(spec, ray="none").document()
    assert (again["version"], again["forgotten"]) == (report["version"], 2)
    assert not (tmp_path / "t_forgotten.lance").exists()

    (images / "000000.png").write_bytes(picture(50))
    newer = clipflow.run(spec, ray="none").document()
    assert (newer["embedded"], newer["forgotten"], newer["unchanged"]) == (1, 1, 4)
    assert len(rows(table)) == 5
    (run,) = clipflow.open(table).sql("select detail from runs where detail like '%\"expired\": 2%'")
    assert run

    assert holders(table, f"{images}/000001.png".encode()), "files hold the row until they are rewritten"
    receipt = forget(str(table), older_than=timedelta(days=30))
    assert (receipt.forgotten, receipt.verified, receipt.requests) == (0, True, 0)
    assert not holders(table, f"{images}/000001.png".encode())
    assert len(rows(table)) == 5


def test_old_rows_leave_every_file_and_leave_no_tombstone(tmp_path: Path) -> None:
    """The rows of the catalogue are dated to the first day of 2026; those of the run are new."""
    fill(tmp_path, [{"key": key, "caption": f"caption of number {key:05}"} for key in range(5)])
    table = tmp_path / "t.lance"
    draw(tmp_path / "images", range(2))
    (tmp_path / "list.csv").write_text("uri\nimages/000000.png\nimages/000001.png\n")
    clipflow.run(job(tmp_path / "list.csv", table, source={"kind": "manifest"}), ray="none")
    rehearsed = forget(str(table), older_than=timedelta(days=1), dry_run=True)
    assert rehearsed.forgotten == 5
    receipt = forget(str(table), older_than=timedelta(days=1), where="caption = 'nobody'")
    assert (receipt.forgotten, receipt.verified) == (5, True)
    assert len(rows(table)) == 2
    for key in range(5):
        assert not holders(table, uri_of(key).encode())
        assert image_id(uri_of(key)) not in values(table)["image_id"]
    assert lance.dataset(str(tmp_path / "t_forgotten.lance")).count_rows() == 0
