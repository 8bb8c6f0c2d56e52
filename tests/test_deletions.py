"""What becomes of rows whose object is gone: counted, named, withdrawn in one step, and back when it returns."""

import json
from pathlib import Path
from typing import Any

import pytest

import clipflow
from clipflow.errors import IntervalError, SourceError, TooManyFailed, TooManyWithdrawn, UsageError
from clipflow.forget.forget import forget
from clipflow.interval import Interval
from clipflow.schema import COUNTS
from clipflow.spec import JobSpec
from clipflow.table.review import Review, review
from clipflow.uri import canonical, image_id
from clipflow.wish import Wish
from clipflow_airflow.stack.ports import free_port
from tests.catalogues import assert_unique_ever, draw, job, picture, rows

NEVER = {"max_failed_share": 1}
"""The limit under which no run fails."""


def run(spec: JobSpec, interval: Interval | None = None, **wish: Any) -> dict[str, Any]:
    report = clipflow.run(spec, interval=interval, ray="none", wish=Wish.of(**wish)).document()
    assert report["listed"] == sum(report[name] for name in COUNTS[1:])
    return report


def manifest_job(folder: Path, names: list[int], **more: Any) -> JobSpec:
    """A job over a manifest of pictures, which is written anew."""
    lines = [json.dumps({"uri": str(folder / f"images/{name:06}.png")}) for name in names]
    (folder / "m.jsonl").write_text("".join(f"{line}\n" for line in lines))
    more["source"] = {"kind": "manifest", **more.get("source", {})}
    return job(folder / "m.jsonl", folder / "t.lance", **more)


def row(folder: Path, name: int) -> dict[str, Any]:
    return rows(folder / "t.lance")[image_id(canonical(folder / f"images/{name:06}.png"))]


def test_an_object_that_is_gone_is_tried_so_often_and_then_left(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(5))
    spec = manifest_job(tmp_path, list(range(5)))
    run(spec)
    lost = tmp_path / "images/000002.png"
    lost.unlink()
    for attempt in (1, 2, 3):
        report = run(spec)
        assert (report["failed"], report["missing"], report["reasons"]) == (1, 1, {"not_found": 1})
        assert report["missing_images"] == [canonical(lost)]
        found = row(tmp_path, 2)
        assert (found["status"], found["attempts"], found["failed_under"]) == ("accepted", attempt, "not_found")
        assert found["vector"] is not None
    last = run(spec)
    assert (last["unchanged"], last["failed"], last["missing"]) == (5, 0, 1)
    assert last["version"] == report["version"], "nothing was left to write"
    assert run(spec, retry=["not_found"])["failed"] == 1
    # It returns as it was: the row says so, and no encoder runs.
    lost.write_bytes(picture(2))
    back = run(spec)
    assert (back["reused"], back["embedded"], back["missing"]) == (1, 0, 0)
    assert (row(tmp_path, 2)["attempts"], row(tmp_path, 2)["failed_under"]) == (1, None)
    assert_unique_ever(tmp_path / "t.lance")


def test_with_reject_it_is_withdrawn_at_once_and_no_run_fails_for_it(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(30))
    spec = manifest_job(tmp_path, list(range(30)), source={"deleted": "reject"})
    run(spec)
    review(
        str(tmp_path / "t.lance"), [image_id(canonical(tmp_path / "images/000003.png"))], Review("accepted", "a", "b")
    )
    for name in (3, 4, 5):
        (tmp_path / f"images/{name:06}.png").unlink()
    report = run(spec)
    assert (report["withdrawn"], report["failed"], report["missing"]) == (3, 3, 0)
    found = row(tmp_path, 3)
    assert (found["status"], found["reasons"], found["reviewed_verdict"]) == (
        "rejected",
        ["source_deleted"],
        "accepted",
    )
    again = run(spec)
    assert (again["unchanged"], again["version"]) == (30, report["version"])
    draw(tmp_path / "images", [3, 4])
    assert run(spec)["reused"] == 2
    assert (row(tmp_path, 3)["status"], row(tmp_path, 3)["reasons"]) == ("accepted", [])
    assert row(tmp_path, 5)["status"] == "rejected"


def test_many_at_once_are_not_believed_and_the_error_says_that(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(30))
    spec = manifest_job(tmp_path, list(range(30)), source={"deleted": "reject"})
    run(spec)
    for name in range(25):
        (tmp_path / f"images/{name:06}.png").unlink()
    for _ in range(5):
        # However often: not_found may then be counted no more.
        with pytest.raises(TooManyWithdrawn, match="25 of 30") as caught:
            run(spec)
        assert not caught.value.retryable
    allowed = spec.model_copy(update={"limits": spec.limits.model_copy(update={"max_withdrawn_share": 1.0})})
    assert run(allowed)["withdrawn"] == 25


def test_what_a_manifest_no_longer_names_is_withdrawn(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(6))
    run(manifest_job(tmp_path, list(range(6)), source={"deleted": "reject"}))
    report = run(manifest_job(tmp_path, [0, 1, 2, 3], source={"deleted": "reject"}))
    assert report["withdrawn"] == 2
    assert row(tmp_path, 5)["reasons"] == ["source_deleted"]
    assert run(manifest_job(tmp_path, list(range(6)), source={"deleted": "reject"}))["reused"] == 2


def test_a_source_withdraws_its_own_rows_alone(tmp_path: Path) -> None:
    table = tmp_path / "t.lance"
    draw(tmp_path / "a", range(3))
    draw(tmp_path / "b", range(10, 13))
    first = job(tmp_path / "a", table, source={"deleted": "reject"})
    glob = job(f"{tmp_path}/*/00001*.png", table, source={"deleted": "reject"})
    run(first)
    run(glob)
    assert len({row["source_id"] for row in rows(table).values()}) == 2
    (tmp_path / "a/000000.png").unlink()
    (tmp_path / "b/000012.png").unlink()
    assert run(glob)["withdrawn"] == 1
    assert run(first)["withdrawn"] == 1
    assert run(first)["withdrawn"] == run(glob)["withdrawn"] == 0


def test_an_interval_withdraws_what_it_lists_and_does_not_find(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(4))
    lines = [f"{tmp_path}/images/{at:06}.png,2026-11-0{at + 1}T12:00:00Z" for at in range(4)]
    (tmp_path / "m.csv").write_text("\n".join(["uri,at", *lines]) + "\n")
    source = {"kind": "manifest", "window": "modified", "modified": "at", "deleted": "reject"}
    spec = job(tmp_path / "m.csv", tmp_path / "t.lance", source=source)
    run(spec)
    for at in (0, 1):
        (tmp_path / f"images/{at:06}.png").unlink()
    report = run(spec, Interval.parse("2026-11-01", "2026-11-02"))
    assert (report["listed"], report["withdrawn"]) == (1, 1)
    assert row(tmp_path, 1)["status"] == "accepted", "another day's"
    assert run(spec)["withdrawn"] == 1


def test_reconciling_lists_everything_whatever_the_window(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        draw(tmp_path / f"dt=2026-11-0{day}", [day])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/000009.png").write_bytes(picture(9))
    spec = job(str(tmp_path / "dt=%Y-%m-%d") + "/", tmp_path / "t.lance", source={"window": "path"})
    run(spec, Interval.parse("2026-11-01", "2026-11-04"))
    (tmp_path / "dt=2026-11-02/000002.png").unlink()
    with pytest.raises(IntervalError):
        run(spec)
    report = run(spec, reconcile=True)
    assert (report["listed"], report["unchanged"], report["withdrawn"]) == (2, 2, 1)


def test_reconciling_a_path_of_manifests_reads_them_all(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(3))
    for day in (1, 2):
        (tmp_path / f"2026-11-0{day}.csv").write_text(f"uri\nimages/{day:06}.png\nimages/000000.png\n")
    spec = job(f"{tmp_path}/%Y-%m-%d.csv", tmp_path / "t.lance", source={"kind": "manifest", "window": "path"})
    run(spec, Interval.parse("2026-11-01", "2026-11-03"))
    (tmp_path / "2026-11-01.csv").write_text("uri\nimages/000000.png\n")
    assert run(spec, Interval.parse("2026-11-01", "2026-11-02"))["withdrawn"] == 0
    report = run(spec, reconcile=True)
    assert (report["listed"], report["withdrawn"]) == (2, 1)


def test_rows_of_older_tables_are_withdrawn_under_a_prefix_alone(tmp_path: Path) -> None:
    import lance

    table = tmp_path / "t.lance"
    draw(tmp_path / "a", range(3))
    spec = job(tmp_path / "a", table, source={"deleted": "reject"})
    run(spec)
    lance.dataset(str(table)).update({"source_id": "NULL"})
    (tmp_path / "a/000000.png").unlink()
    assert run(job(f"{tmp_path}/a/*", table, source={"deleted": "reject"}))["withdrawn"] == 0
    assert run(job(tmp_path, table, source={"deleted": "reject"}))["withdrawn"] == 1


@pytest.mark.parametrize(
    ("images", "broken", "gone", "limits", "fails"),
    [
        (3, 3, 0, {}, False),
        (30, 29, 0, {}, False),
        (30, 30, 0, {}, True),
        (20, 20, 0, {"max_failed_share": 1}, False),
        (30, 20, 0, {"fail_on": "any"}, True),
        (19, 18, 0, {"fail_on": "any"}, False),
        (19, 18, 0, {"fail_on": "any", "max_failed_from": 10}, True),
        (30, 0, 16, {}, True),
        (30, 0, 15, {}, False),
        (19, 0, 18, {}, False),
        (2, 0, 2, {}, False),
    ],
)
def test_when_a_run_fails(
    tmp_path: Path, images: int, broken: int, gone: int, limits: dict[str, Any], fails: bool
) -> None:
    draw(tmp_path / "images", range(images - gone))
    for at in range(broken):
        (tmp_path / f"images/{at:06}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([at]))
    spec = manifest_job(tmp_path, list(range(images)), limits=limits)
    if not fails:
        assert run(spec)["failed"] == broken + gone
        return
    with pytest.raises(TooManyFailed) as caught:
        run(spec)
    assert caught.value.retryable is bool(gone)
    assert caught.value.report is not None
    assert caught.value.report["failed"] == broken + gone


def test_a_few_that_never_reached_their_storage_are_a_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    lines = "".join(f"s3://b/{at}.png,e{at},9\n" for at in range(3))
    (tmp_path / "m.csv").write_text(f"uri,etag,size\n{lines}")
    storage = {"endpoint": f"http://127.0.0.1:{free_port()}"}
    source = {"kind": "manifest", "etag": "etag", "size": "size", "storage": storage}
    with pytest.raises(TooManyFailed) as caught:
        run(job(tmp_path / "m.csv", tmp_path / "t.lance", source=source))
    assert caught.value.retryable


def test_failures_are_tried_again_when_what_they_follow_from_has_changed(tmp_path: Path) -> None:
    images = tmp_path / "images"
    draw(images, [1])
    (images / "large.png").write_bytes(picture(2, 200, 200))
    (images / "text.txt").write_bytes(b"no image at all")
    small = job(images, tmp_path / "t.lance", limits={"max_pixels": 10_000})
    report = run(small)
    assert report["reasons"] == {"not_an_image": 1, "too_many_pixels": 1}
    under = {row["reasons"][0]: row["failed_under"] for row in rows(tmp_path / "t.lance").values() if row["reasons"]}
    assert under["too_many_pixels"] == "10000"
    assert run(small)["unchanged"] == 3
    assert run(job(images, tmp_path / "t.lance", limits={"max_pixels": 9_000}))["unchanged"] == 3
    assert run(job(images, tmp_path / "t.lance", limits={"max_pixels": 20_000}))["failed"] == 1
    assert run(job(images, tmp_path / "t.lance", limits={"max_pixels": 20_000}))["unchanged"] == 3
    assert run(job(images, tmp_path / "t.lance", limits={"max_pixels": 40_000}))["embedded"] == 1
    assert run(small)["unchanged"] == 3, "a smaller limit takes nothing away"
    again = run(small, retry=["not_an_image"])
    assert (again["failed"], again["unchanged"]) == (1, 2)


def test_a_decoder_that_knows_more_tries_again_and_one_that_knows_less_does_not(tmp_path: Path) -> None:
    import lance

    from clipflow.decode.revision import decoder_revision

    images, table = tmp_path / "images", tmp_path / "t.lance"
    draw(images, [1])
    (images / "text.txt").write_bytes(b"no image at all")
    spec = job(images, table)
    run(spec)
    for under, tried in (("NULL", 1), (f"'{decoder_revision() + 1}'", 0), (f"'{decoder_revision() - 1}'", 1)):
        lance.dataset(str(table)).update({"failed_under": under}, where="status = 'failed'")
        assert run(spec)["failed"] == tried, under
        assert run(spec)["failed"] == 0


def test_decoding_again_reads_what_an_older_decoder_read(tmp_path: Path) -> None:
    import lance

    images, table = tmp_path / "images", tmp_path / "t.lance"
    draw(images, range(3))
    spec = job(images, table)
    run(spec)
    assert run(spec, redecode=["png"])["unchanged"] == 3
    lance.dataset(str(table)).update({"damaged": "NULL"}, where="source_uri LIKE '%000001.png'")
    assert run(spec)["unchanged"] == 3, "rows of before stay valid"
    assert run(spec, redecode=["bmp", "tiff"])["unchanged"] == 3
    report = run(spec, redecode=["png"])
    assert (report["embedded"], report["unchanged"]) == (1, 2)
    assert run(spec, redecode=["png"])["unchanged"] == 3


def test_what_is_no_code_or_format_is_refused() -> None:
    with pytest.raises(UsageError, match="truncatd"):
        Wish.of(retry=["truncatd"])
    with pytest.raises(UsageError, match="docx"):
        Wish.of(redecode=["docx"])


@pytest.mark.parametrize(
    ("pattern", "root"),
    [
        ("dt=%Y-%m-%d", ""),
        ("[x]/dt=%Y-%m-%d/", "[x]/"),
        ("a b/%%20/dt=%Y-%m-%d/", "a b/%20/"),
        ("cre\u0300me/dt=%Y-%m-%d/", "cr\u00e8me/"),
        ("dt=%Y-%m-%d/*/", ""),
        ("*/dt=%Y-%m-%d/", "some/"),
    ],
)
def test_reconciling_lists_what_the_windows_list_however_the_path_is_written(
    tmp_path: Path, pattern: str, root: str
) -> None:
    for day in (1, 2):
        draw(tmp_path / f"{root}dt=2026-11-0{day}/in", [day])
    spec = job(f"{tmp_path}/{pattern}", tmp_path / "t.lance", source={"window": "path"})
    assert run(spec, Interval.parse("2026-11-01", "2026-11-03"))["embedded"] == 2
    report = run(spec, reconcile=True)
    assert (report["listed"], report["unchanged"], report["withdrawn"]) == (2, 2, 0)
    (tmp_path / f"{root}dt=2026-11-02/in/000002.png").unlink()
    assert run(spec, reconcile=True)["withdrawn"] == 1


def test_a_root_that_leads_nowhere_withdraws_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "disk", range(3))
    (tmp_path / "images").symlink_to("disk")
    for uri in ("images", "images/", "images/*.png"):
        spec = job(f"{tmp_path}/{uri}", tmp_path / f"{len(uri)}.lance", source={"deleted": "reject"})
        run(spec)
        (tmp_path / "disk").rename(tmp_path / "elsewhere")
        with pytest.raises(SourceError, match="does not exist"):
            run(spec)
        (tmp_path / "elsewhere").rename(tmp_path / "disk")
        assert run(spec)["unchanged"] == 3


def test_another_spelling_of_what_is_gone_is_its_row(tmp_path: Path) -> None:
    images, table = tmp_path / "images", tmp_path / "t.lance"
    images.mkdir()
    for name in ("a b.png", "c.png"):
        (images / name).write_bytes(picture(len(name)))
    (tmp_path / "m.csv").write_text(f"uri\nfile://{images}/a%20b.png\nimages/c.png\n")
    spec = job(tmp_path / "m.csv", table, source={"kind": "manifest", "deleted": "reject"})
    run(spec)
    (images / "a b.png").unlink()
    assert run(spec)["withdrawn"] == 1
    assert {row["source_uri"]: row["status"] for row in rows(table).values()} == {
        f"file://{images}/a b.png": "rejected",
        f"file://{images}/c.png": "accepted",
    }
    forget(str(table), uris=[f"{images}/a b.png"], wait=0)
    assert run(spec)["forgotten"] == 1, "whatever the manifest calls it"


def test_trials_count_for_the_state_that_was_tried(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(2))
    gone = tmp_path / "images/000001.png"

    def told(etag: str, deleted: str) -> JobSpec:
        lines = [f"images/000000.png,e0,{(tmp_path / 'images/000000.png').stat().st_size}", f"{gone},{etag},9"]
        (tmp_path / "m.csv").write_text("\n".join(["uri,etag,size", *lines]) + "\n")
        source = {"kind": "manifest", "etag": "etag", "size": "size", "deleted": deleted}
        return job(tmp_path / "m.csv", tmp_path / "t.lance", source=source, limits=NEVER)

    run(told("e1", "keep"))
    gone.unlink()
    for etag in ("e2", "e3"):
        for _ in range(3):
            assert run(told(etag, "keep"))["failed"] == 1
        last = run(told(etag, "keep"))
        assert (last["unchanged"], last["missing"]) == (2, 1)
        assert run(told(etag, "keep"))["version"] == last["version"]
    assert run(told("e3", "reject"))["withdrawn"] == 1
    assert run(told("e4", "reject"))["withdrawn"] == 0, "it is withdrawn already"
    last = run(told("e4", "reject"))
    assert (last["unchanged"], last["withdrawn"]) == (2, 0)
    assert run(told("e4", "reject"))["version"] == last["version"]


def test_who_withdraws_owns_what_it_lists(tmp_path: Path) -> None:
    table = tmp_path / "t.lance"
    draw(tmp_path / "a/b", range(3))
    narrow = job(tmp_path / "a/b", table, source={"deleted": "reject"})
    wide = job(tmp_path / "a", table, source={"deleted": "reject"})
    run(narrow)
    assert run(wide)["reused"] == 3, "once"
    version = run(wide)["version"]
    assert run(wide)["version"] == version
    (tmp_path / "a/b/000001.png").unlink()
    assert run(wide)["withdrawn"] == 1
