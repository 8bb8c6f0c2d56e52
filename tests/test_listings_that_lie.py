"""Laws 1 to 3 under listings that repeat, break off, go round in circles, or are suddenly short."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

import clipflow
from clipflow.errors import SourceEmpty, StageError, StorageUnavailable, TooManyWithdrawn
from clipflow.interval import Interval
from clipflow.schema import COUNTS
from clipflow.spec import JobSpec
from clipflow.table.address import TableAddress
from clipflow.table.images import open_images
from clipflow.table.key_set import KeySet
from clipflow.uri import canonical, image_id
from clipflow.wish import Wish
from clipflow_airflow.prefix import Prefix
from tests.catalogues import assert_unique_ever, draw, job, picture, rows
from tests.lying_store import BUCKET, Page, lying_store

KEYS = [f"p/{at:02}.png" for at in range(10)]
OBJECTS = {key: picture(at) for at, key in enumerate(KEYS)}
REPEATING: dict[str, Mapping[str | None, Page]] = {
    "within a page": {None: Page([*KEYS, KEYS[3], KEYS[3]])},
    "across pages": {None: Page(KEYS[:4], True, "a"), "a": Page(KEYS[3:8], True, "b"), "b": Page(KEYS[7:])},
    "out of order": {None: Page(KEYS[5:], True, "a"), "a": Page([*KEYS[:5], KEYS[9]])},
}
ENDLESS: dict[str, Mapping[str | None, Page]] = {
    "more, and no token": {None: Page(KEYS[:3], True)},
    "more, and no token, later": {None: Page(KEYS[:3], True, "a"), "a": Page(KEYS[3:6], True)},
    "the same token": {None: Page(KEYS[:3], True, "a"), "a": Page(KEYS[3:6], True, "a")},
    "an empty page with more": {None: Page(KEYS[:3], True, "a"), "a": Page([], True, "b"), "b": Page(KEYS[3:])},
    "an empty first page with more": {None: Page([], True, "a"), "a": Page(KEYS)},
    "a circle of two": {
        None: Page(KEYS[:3], True, "a"),
        "a": Page(KEYS[3:6], True, "b"),
        "b": Page(KEYS[:3], True, "c"),
        "c": Page(KEYS[3:6], True, "d"),
        "d": Page(KEYS[:3], True, "a"),
    },
}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "t.lance"


def run(spec: JobSpec, interval: Interval | None = None, **wish: Any) -> dict[str, Any]:
    report = clipflow.run(spec, interval=interval, ray="none", wish=Wish.of(**wish)).document()
    assert report["listed"] == sum(report[name] for name in COUNTS[1:])
    return report


def bucket_job(endpoint: str, target: Path, **source: Any) -> JobSpec:
    return job(f"s3://{BUCKET}/p/", target, source={"storage": {"endpoint": endpoint}, **source})


@pytest.mark.parametrize("pages", REPEATING.values(), ids=REPEATING)
def test_a_key_that_is_listed_again_is_one_row(pages: Mapping[str | None, Page], target: Path) -> None:
    lines = sum(len(page.keys) for page in pages.values())
    with lying_store(OBJECTS, pages) as store:
        spec = bucket_job(store.endpoint, target, deleted="reject")
        report = run(spec)
        assert (report["listed"], report["repeated"], report["embedded"]) == (10, lines - 10, 10)
        again = run(spec)
    assert (again["unchanged"], again["version"]) == (10, report["version"])
    assert len(rows(target)) == 10
    assert_unique_ever(target)


@pytest.mark.parametrize("pages", ENDLESS.values(), ids=ENDLESS)
def test_pages_without_an_end_are_an_error_and_withdraw_nothing(pages: Mapping[str | None, Page], target: Path) -> None:
    with lying_store(OBJECTS, {None: Page(KEYS)}) as store:
        spec = bucket_job(store.endpoint, target, deleted="reject")
        version = run(spec)["version"]
        store.pages = dict(pages)
        with pytest.raises(StorageUnavailable) as caught:
            run(spec)
        with pytest.raises(StorageUnavailable):
            for _ in Prefix.of(f"s3://{BUCKET}/p/", {"endpoint": store.endpoint}).pages():
                pass
        assert store.asked < 50
    assert caught.value.retryable
    assert lance.dataset(str(target)).version == version


def test_the_commit_refuses_a_key_that_comes_twice() -> None:
    ids = pa.chunked_array([[image_id(f"s3://b/{at}") for at in range(100)]])
    keys = KeySet()
    keys.ensure_new(ids)
    keys.add(ids)
    for wrong in (ids.slice(50, 1), pa.chunked_array([[image_id("s3://b/new")] * 2])):
        with pytest.raises(StageError, match="twice"):
            keys.ensure_new(wrong)
    keys.ensure_new(pa.chunked_array([[image_id("s3://b/new")]]))
    keys.ensure_new(pa.chunked_array([[]], pa.string()))


def test_overlapping_windows_list_an_image_once(tmp_path: Path, target: Path) -> None:
    draw(tmp_path / "2026", range(4))
    # Two patterns of one folder: each hour has the same text.
    spec = job(str(tmp_path / "%Y") + "/", target, source={"window": "path"})
    report = run(spec, Interval.parse("2026-01-01", "2026-01-03"))
    assert (report["listed"], report["embedded"]) == (4, 4)


def test_a_source_that_is_much_smaller_is_not_believed(tmp_path: Path, target: Path) -> None:
    images = tmp_path / "images"
    draw(images, range(60))
    spec = job(images, target, source={"deleted": "reject"})
    run(spec)
    for at in range(30):
        (images / f"{at:06}.png").unlink()
    draw(images, [100])
    with pytest.raises(TooManyWithdrawn) as caught:
        run(spec)
    assert not caught.value.retryable
    assert "max_withdrawn_share" in str(caught.value)
    assert caught.value.report is not None
    assert (caught.value.report["embedded"], caught.value.report["withdrawn"]) == (1, 0)
    assert sum(row["status"] == "rejected" for row in rows(target).values()) == 0, "what was embedded stays committed"
    allowed = spec.model_copy(update={"limits": spec.limits.model_copy(update={"max_withdrawn_share": 1.0})})
    assert run(allowed)["withdrawn"] == 30
    # Twenty always may go: a small share of many, or all of a few.
    for at in range(30, 50):
        (images / f"{at:06}.png").unlink()
    assert run(spec)["withdrawn"] == 20


def test_a_source_that_is_suddenly_empty_is_told(tmp_path: Path, target: Path) -> None:
    images = tmp_path / "images"
    draw(images, range(3))
    spec = job(images, target)
    assert run(spec)["warnings"] == []
    for path in images.iterdir():
        path.unlink()
    report = run(spec)
    assert report["listed"] == 0
    assert "3 rows" in report["warnings"][0]
    assert clipflow.plan(spec).document()["warnings"] == report["warnings"]
    with pytest.raises(SourceEmpty) as caught:
        run(spec, fail_on_empty=True)
    assert caught.value.exit_code == 1
    assert caught.value.retryable
    (tmp_path / "other").mkdir()
    assert run(job(tmp_path / "other", tmp_path / "o.lance"))["warnings"] == [], "nothing was ever there"


ODD = [b"caf\xe9.png", b"caf%E9.png", b"\xff%FF.png", b"%FF\xff.png", "ü.png".encode(), b"100%.png"]


def write_raw(folder: Path, name: bytes, seed: int) -> None:
    folder.mkdir(exist_ok=True)
    with open(os.path.join(os.fsencode(folder), name), "wb") as file:
        file.write(picture(seed))


def test_two_files_never_share_an_address(tmp_path: Path, target: Path) -> None:
    for at, name in enumerate(ODD):
        write_raw(tmp_path / "images", name, at)
    spec = job(tmp_path / "images", target)
    first = run(spec)
    assert (first["listed"], first["repeated"], first["embedded"]) == (len(ODD), 0, len(ODD))
    assert run(spec)["version"] == first["version"]
    assert len(rows(target)) == len(ODD)
    for uri in rows(target, ["image_id", "source_uri"]).values():
        assert uri["source_uri"] == canonical(uri["source_uri"])


def test_a_row_under_the_former_spelling_is_replaced_once(tmp_path: Path, target: Path) -> None:
    images = tmp_path / "images"
    write_raw(images, b"caf\xe9.png", 1)
    spec = job(images, target)
    run(spec)
    new = next(iter(rows(target, ["image_id", "source_uri"]).values()))
    old = f"file://{images}/caf%E9.png"
    _rename(target, new["image_id"], old)
    assert {row["source_uri"] for row in rows(target).values()} == {old}
    report = run(spec)
    assert (report["reused"], report["embedded"]) == (1, 0)
    assert {row["source_uri"] for row in rows(target).values()} == {new["source_uri"]}
    assert run(spec)["version"] == report["version"]


def test_the_former_spelling_may_be_a_file_of_its_own(tmp_path: Path, target: Path) -> None:
    images = tmp_path / "images"
    write_raw(images, b"caf%E9.png", 2)
    spec = job(images, target)
    run(spec)
    write_raw(images, b"caf\xe9.png", 1)
    assert run(spec)["embedded"] == 1
    assert len(rows(target)) == 2


def _rename(target: Path, key: str, uri: str) -> None:
    """Write a row as a table of before would hold it."""
    dataset = open_images(TableAddress.of(str(target)))
    dataset.update({"image_id": f"'{image_id(uri)}'", "source_uri": f"'{uri}'"}, where=f"image_id = '{key}'")
