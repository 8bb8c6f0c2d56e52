"""The main flow as a user meets it: windows, captions, copies, losses, refusals."""

import os
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

import clipflow
from clipflow.errors import EncoderMismatch, IntervalError, NotYet, PolicyError, SourceError
from clipflow.interval import Interval
from clipflow.schema import COUNTS
from clipflow.spec import JobSpec
from clipflow.uri import canonical, image_id
from tests.catalogues import draw, job, picture, rows


def run(spec: JobSpec, interval: Interval | None = None) -> dict[str, object]:
    report = clipflow.run(spec, interval=interval, ray="none").document()
    assert report["listed"] == sum(report[name] for name in COUNTS[1:])
    return report


def row_of(table: Path, file: Path) -> dict[str, object]:
    return rows(table)[image_id(canonical(file))]


def test_daily_intervals_take_each_image_once(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        draw(tmp_path / "images", [day])
        moment = datetime(2026, 11, day, 12, tzinfo=UTC).timestamp()
        os.utime(tmp_path / f"images/{day:06}.png", (moment, moment))
    edge = datetime(2026, 11, 3, tzinfo=UTC).timestamp()
    draw(tmp_path / "images", [9])
    os.utime(tmp_path / "images/000009.png", (edge, edge))
    spec = job(tmp_path / "images", tmp_path / "t.lance", source={"window": "modified"})
    listed = [run(spec, Interval.parse(f"2026-11-0{day}", f"2026-11-0{day + 1}"))["embedded"] for day in (3, 1, 2)]
    assert listed == [2, 1, 1]
    found = row_of(tmp_path / "t.lance", tmp_path / "images/000009.png")
    assert found["interval_start"] == datetime(2026, 11, 3, tzinfo=UTC)
    assert run(spec)["unchanged"] == 4, "without an interval the window is unbounded"


def test_path_windows_need_an_interval(tmp_path: Path) -> None:
    draw(tmp_path / "dt=2026-11-02", range(3))
    spec = job(str(tmp_path / "dt=%Y-%m-%d") + "/", tmp_path / "t.lance", source={"window": "path"})
    with pytest.raises(IntervalError):
        run(spec)
    assert run(spec, Interval.parse("2026-11-01", "2026-11-04"))["embedded"] == 3


def test_an_empty_listing_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    report = run(job(tmp_path / "images", tmp_path / "lake/t.lance"))
    assert report["version"] is None
    assert not (tmp_path / "lake").exists()


def manifest(folder: Path, lines: list[str]) -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join(["uri,text,uploader", *lines]) + "\n")
    return path


def test_captions_are_scored_and_a_new_caption_fetches_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(3))
    source = {"kind": "manifest", "caption": "text", "attributes": ["uploader"]}
    policy = {"rules": [{"name": "mismatch", "score": "caption", "review_below": 2.0}]}
    path = manifest(tmp_path, ["images/000000.png,red,ann", "images/000001.png,,bob", "images/000001.png,blue,bob"])
    spec = job(path, tmp_path / "t.lance", source=source, policy=policy)
    first = run(spec)
    assert (first["listed"], first["repeated"], first["embedded"], first["review"]) == (2, 1, 2, 2)
    before = row_of(tmp_path / "t.lance", tmp_path / "images/000001.png")
    assert (before["caption"], before["attr_uploader"], before["reasons"]) == ("blue", "bob", ["mismatch"])
    manifest(tmp_path, ["images/000000.png,red,ann", "images/000001.png,green,eve"])
    second = run(spec)
    assert (second["unchanged"], second["reused"], second["embedded"]) == (1, 1, 0)
    assert second["seconds"]["embed"] < first["seconds"]["total"]  # type: ignore[index]
    after = row_of(tmp_path / "t.lance", tmp_path / "images/000001.png")
    assert (after["caption"], after["attr_uploader"]) == ("green", "eve")
    assert after["score_mismatch"] != before["score_mismatch"]
    assert (after["vector"], after["embedded_at"]) == (before["vector"], before["embedded_at"])
    assert run(spec)["unchanged"] == 2


def test_a_new_caption_needs_no_bytes(tmp_path: Path) -> None:
    """The object is unreadable by now, and only its row's words change."""
    draw(tmp_path / "images", range(1))
    image = tmp_path / "images/000000.png"
    spec = job(manifest(tmp_path, ["images/000000.png,red,ann"]), tmp_path / "t.lance", source=SOURCE)
    run(spec)
    stat = image.stat()
    image.write_bytes(b"x" * stat.st_size)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    manifest(tmp_path, ["images/000000.png,blue,ann"])
    assert run(spec)["reused"] == 1
    assert row_of(tmp_path / "t.lance", image)["status"] == "accepted"


SOURCE = {"kind": "manifest", "caption": "text"}


def test_a_job_keeps_the_words_that_it_does_not_declare(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(2))
    table, image = tmp_path / "t.lance", tmp_path / "images/000000.png"
    path = manifest(tmp_path, ["images/000000.png,red,ann", "images/000001.png,blue,bob"])
    run(job(path, table, source={**SOURCE, "attributes": ["uploader"]}))
    image.write_bytes(picture(77))
    assert run(job(tmp_path / "images", table))["embedded"] == 1
    row = row_of(table, image)
    assert (row["caption"], row["attr_uploader"], row["width"]) == ("red", "ann", 48)
    assert run(job(path, table, source={**SOURCE, "attributes": ["uploader"]}))["unchanged"] == 2


def test_passing_failures_are_tried_again_three_times(tmp_path: Path) -> None:
    spec = job(
        manifest(tmp_path, ["gone.png,red,ann"]), tmp_path / "t.lance", source=SOURCE, limits={"max_failed_share": 1}
    )
    for attempt in (1, 2, 3):
        assert run(spec)["failed"] == 1
        row = row_of(tmp_path / "t.lance", tmp_path / "gone.png")
        assert (row["reasons"], row["attempts"]) == (["not_found"], attempt)
    assert run(spec)["unchanged"] == 1
    (tmp_path / "gone.png").write_bytes(picture(1))
    assert run(spec)["embedded"] == 1


def test_rows_of_deleted_objects_are_rejected_and_come_back(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(4))
    draw(tmp_path / "elsewhere", [7])
    table = tmp_path / "t.lance"
    run(job(tmp_path / "elsewhere", table))
    spec = job(tmp_path / "images", table, source={"deleted": "reject"})
    run(spec)
    image = tmp_path / "images/000002.png"
    kept, stat = image.read_bytes(), image.stat()
    image.unlink()
    report = run(spec)
    assert (report["listed"], report["unchanged"], report["withdrawn"]) == (3, 3, 1)
    row = row_of(table, image)
    assert (row["status"], row["reasons"], row["run_id"]) == ("rejected", ["source_deleted"], report["run_id"])
    assert row_of(table, tmp_path / "elsewhere/000007.png")["status"] == "accepted"
    again = run(spec)
    assert (again["withdrawn"], again["version"]) == (0, report["version"])
    image.write_bytes(kept)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run(spec)["reused"] == 1
    assert row_of(table, image)["status"] == "accepted"


def test_a_bounded_run_withdraws_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(2))
    spec = job(tmp_path / "images", tmp_path / "t.lance", source={"deleted": "reject", "window": "modified"})
    run(spec)
    assert run(spec, Interval.parse("2020-01-01", "2020-01-02"))["withdrawn"] == 0


def test_one_table_holds_one_encoder(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(1))
    table = tmp_path / "t.lance"
    run(job(tmp_path / "images", table))
    with pytest.raises(EncoderMismatch, match=r"stub:dim=16.*stub:dim=8.*`clipflow migrate TABLE"):
        run(job(tmp_path / "images", table, encoder={"model": "stub:dim=8", "loader": "stub"}))
    with pytest.raises(EncoderMismatch):
        clipflow.plan(job(tmp_path / "images", table, encoder={"model": "demo"}))


def test_one_table_has_one_policy(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(1))
    run(job(tmp_path / "images", tmp_path / "t.lance"))
    other = {"rules": [{"name": "small", "score": "min_side", "reject_below": 1}]}
    with pytest.raises(PolicyError, match="was judged by") as caught:
        run(job(tmp_path / "images", tmp_path / "t.lance", policy=other))
    assert "clipflow judge --policy" in caught.value.mend


def test_vectors_that_are_not_finite_are_failures(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    black = BytesIO()
    Image.new("RGB", (40, 40)).save(black, "PNG")
    (tmp_path / "images/black.png").write_bytes(black.getvalue())
    draw(tmp_path / "images", range(2))
    report = run(
        job(tmp_path / "images", tmp_path / "t.lance", encoder={"model": "stub:dim=16,nan=1", "loader": "stub"})
    )
    assert (report["embedded"], report["failed"], report["reasons"]) == (2, 1, {"encoder_nonfinite": 1})
    row = row_of(tmp_path / "t.lance", tmp_path / "images/black.png")
    assert (row["vector"], row["width"]) == (None, 40)


def test_every_row_leads_to_its_run(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(2))
    spec = job(tmp_path / "images", tmp_path / "t.lance", context={"dag_id": "d", "dag_run_id": "r"})
    run(spec)
    table = clipflow.open(tmp_path / "t.lance")
    (found,) = table.sql(
        "select distinct r.*, i.dag_id as dag, i.dag_run_id as dag_run from images i join runs r using (run_id)"
    )
    assert (found["verb"], found["state"], found["job"], found["dag"], found["dag_run"]) == (
        "run",
        "done",
        "test",
        "d",
        "r",
    )
    assert found["fingerprint"] == spec.fingerprint
    assert '"computed_in": ["fp32"]' in found["encoder"]
    assert '"checkpoint_fp"' in found["encoder"]


def test_what_comes_later_is_refused_and_not_ignored(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(1))
    with pytest.raises(NotYet):
        run(job(tmp_path / "images", tmp_path / "t.lance", source={"allow_private": True}))
    assert not (tmp_path / "t.lance").exists()


def test_a_source_that_is_not_there_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        run(job(tmp_path / "nowhere", tmp_path / "t.lance"))
    assert not list(tmp_path.iterdir())
