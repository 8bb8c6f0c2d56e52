"""Listing folders and buckets."""

import os
import socket
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clipflow.errors import IntervalError, JobFileError, SourceError, StorageUnavailable
from clipflow.interval import Interval
from clipflow.source import list_source, listing_schema
from clipflow.spec import SourceSpec, StorageSpec
from clipflow.uri import canonical, image_id
from clipflow_airflow.stack.ports import free_port
from tests.s3 import READER, S3Server

ODD = [
    "a b.jpg",
    "50%20.jpg",
    "#1.jpg",
    "what?v=1.jpg",
    "ünï/ço∂é.jpg",
    "+&=;,.jpg",
    ".hidden",
    "x?versionId=7",
    "'\".jpg",
]
DAY = Interval.parse("2026-11-02", "2026-11-03")


def listed(source: SourceSpec, interval: Interval | None = None) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for batch in list_source(source, interval):
        assert batch.schema == listing_schema(source)
        assert 0 < batch.num_rows <= 10_000
        batch.validate(full=True)
        for row in batch.to_pylist():
            assert row["image_id"] == image_id(row["source_uri"])
            assert row["source_uri"] == canonical(row["source_uri"])
            rows[row["source_uri"]] = row
    return rows


def names(root: Path | str, source: SourceSpec, interval: Interval | None = None) -> set[str]:
    start = f"file://{root}/" if isinstance(root, Path) else root
    return {uri.removeprefix(start) for uri in listed(source, interval)}


def write(path: Path, text: str = "x", at: datetime | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if at:
        os.utime(path, (at.timestamp(), at.timestamp()))


def test_a_folder_lists_all_its_files_with_their_state(tmp_path: Path) -> None:
    for name in ODD:
        write(tmp_path / name)
    with open(os.path.join(os.fsencode(tmp_path), b"\xff.jpg"), "wb"):
        pass
    (tmp_path / "empty").mkdir()
    rows = listed(SourceSpec(uri=str(tmp_path)))
    assert {uri.removeprefix(f"file://{tmp_path}/") for uri in rows} == {*ODD, f"file:///{tmp_path}/%FF.jpg"}
    found = (tmp_path / ODD[0]).stat()
    row = rows[f"file://{tmp_path}/{ODD[0]}"]
    assert row["source_etag"] == f"{found.st_mtime_ns:x}-{found.st_size:x}"
    assert row["source_size"] == 1
    assert row["source_version"] is None
    assert row["caption"] is None
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert row["source_modified"] == epoch + timedelta(microseconds=found.st_mtime_ns // 1000)
    assert listed(SourceSpec(uri=f"file://{tmp_path}/")) == rows


def test_special_files_and_links_out_of_the_root_are_left_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    write(root / "in" / "a.jpg")
    write(outside / "b.jpg")
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "socket"))
        (root / "out").symlink_to(outside)
        (root / "out.jpg").symlink_to(outside / "b.jpg")
        (root / "in" / "same.jpg").symlink_to("a.jpg")
        (root / "again").symlink_to("in")
        (root / "gone").symlink_to("nothing")
        (root / "self").symlink_to("self")
        (root / "in" / "up").symlink_to("..")
        assert names(root, SourceSpec(uri=str(root))) == {"in/a.jpg", "in/same.jpg", "again/a.jpg", "again/same.jpg"}
    (tmp_path / "link").symlink_to("root")
    assert "in/a.jpg" in names(tmp_path / "link", SourceSpec(uri=str(tmp_path / "link")))


def test_a_folder_named_like_the_root_and_more_is_outside(tmp_path: Path) -> None:
    write(tmp_path / "root2" / "a.jpg")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "root2")
    assert names(tmp_path, SourceSpec(uri=str(tmp_path / "root"))) == set()


def test_one_file_lists_itself(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg")
    assert names(tmp_path, SourceSpec(uri=str(tmp_path / "a.jpg"))) == {"a.jpg"}


def test_a_glob_narrows(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.png", "c/d.jpg", "c/e/f.jpg", ".x/g.jpg", "c/[1].jpg"):
        write(tmp_path / name)

    def under(glob: str) -> set[str]:
        return names(tmp_path, SourceSpec(uri=f"{tmp_path}/{glob}"))

    assert under("*.jpg") == {"a.jpg"}
    assert under("**/*.jpg") == {"a.jpg", "c/d.jpg", "c/e/f.jpg", ".x/g.jpg", "c/[1].jpg"}
    assert under("?.[pj]??") == {"a.jpg", "b.png"}
    assert under("c*/") == {"c/d.jpg", "c/e/f.jpg", "c/[1].jpg"}
    assert under("c/[1].jpg") == {"c/[1].jpg"}
    assert under("*.gif") == set()
    with pytest.raises(SourceError):
        under("no/*.jpg")
    with pytest.raises(SourceError):
        under("a**b")


def test_a_missing_folder_is_an_error_and_an_empty_one_lists_nothing(tmp_path: Path) -> None:
    assert list(list_source(SourceSpec(uri=str(tmp_path)))) == []
    with pytest.raises(SourceError) as caught:
        listed(SourceSpec(uri=str(tmp_path / "no")))
    assert str(tmp_path / "no") in str(caught.value)
    with pytest.raises(SourceError):
        listed(SourceSpec(uri="https://host/folder/"))


def test_batches_are_bounded(tmp_path: Path) -> None:
    for at in range(10_001):
        (tmp_path / f"{at}").touch()
    assert [batch.num_rows for batch in list_source(SourceSpec(uri=str(tmp_path)))] == [10_000, 1]


def test_window_modified_is_half_open_and_lateness_widens_it(tmp_path: Path) -> None:
    for name, at in (("early", -1), ("first", 0), ("last", 86_399), ("end", 86_400)):
        write(tmp_path / name, at=DAY.start + timedelta(seconds=at))
    source = SourceSpec(uri=str(tmp_path), window="modified")
    assert names(tmp_path, source, DAY) == {"first", "last"}
    assert names(tmp_path, source) == {"early", "first", "last", "end"}
    assert names(tmp_path, source.model_copy(update={"lateness": timedelta(seconds=1)}), DAY) == {
        "early",
        "first",
        "last",
    }
    assert len(names(tmp_path, SourceSpec(uri=str(tmp_path)), DAY)) == 4


def test_window_path(tmp_path: Path) -> None:
    for day in ("2026-11-01", "2026-11-02", "2026-11-04"):
        write(tmp_path / f"dt={day}" / "a.jpg")
    source = SourceSpec(uri=f"{tmp_path}/dt=%Y-%m-%d/", window="path")
    interval = Interval.parse("2026-11-02", "2026-11-05")
    assert names(tmp_path, source, interval) == {"dt=2026-11-02/a.jpg", "dt=2026-11-04/a.jpg"}
    globbed = source.model_copy(update={"uri": f"{tmp_path}/dt=%Y-%m-%d/*.png"})
    assert names(tmp_path, globbed, interval) == set()
    with pytest.raises(IntervalError) as caught:
        listed(source)
    assert "CronDataIntervalTimetable" in caught.value.mend
    with pytest.raises(SourceError):
        listed(SourceSpec(uri=f"{tmp_path}/no/%Y/", window="path"), interval)
    with pytest.raises(JobFileError):
        listed(SourceSpec(uri=str(tmp_path), window="path"), interval)


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    s3.use(monkeypatch)
    return s3


def test_a_bucket_lists_every_key_verbatim(bucket: S3Server) -> None:
    wanted = {bucket.put(f"odd/{name}", b"data") for name in ODD}
    bucket.put("odd/folder/", b"")
    rows = listed(SourceSpec(uri="s3://open/odd/"))
    assert set(rows) == wanted
    row = rows["s3://open/odd/a b.jpg"]
    assert row["source_etag"] == "8d777f385d3dfec8815d20f7496026dc"
    assert row["source_size"] == 4
    assert abs(row["source_modified"] - datetime.now(UTC)) < timedelta(minutes=5)
    assert set(listed(SourceSpec(uri="s3://open/odd"))) == wanted


def test_a_name_without_slash_is_the_object_and_the_folder(bucket: S3Server) -> None:
    for key in ("up", "up/x", "up2/x", "up-x"):
        bucket.put(f"plain/{key}", b"1")
    assert names("s3://open/plain/", SourceSpec(uri="s3://open/plain/up")) == {"up", "up/x"}
    assert names("s3://open/plain/", SourceSpec(uri="s3://open/plain/up/")) == {"up/x"}
    assert names("s3://open/plain/", SourceSpec(uri="s3://open/plain/up2/x")) == {"up2/x"}
    assert names("s3://open/plain/", SourceSpec(uri="s3://open/plain/u")) == set()
    assert names("s3://open/plain/", SourceSpec(uri="s3://open/plain/up*")) == {"up", "up-x"}
    assert names("s3://open/plain/", SourceSpec(uri="s3://open/plain/**/x")) == {"up/x", "up2/x"}


def test_a_listing_goes_on_after_the_first_page(bucket: S3Server) -> None:
    bucket.make_bucket("pages")
    from concurrent.futures import ThreadPoolExecutor

    client = bucket.client
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: client.put_object(Bucket="pages", Key=f"{at:05}", Body=b"1"), range(1005)))
    assert len(listed(SourceSpec(uri="s3://pages"))) == 1005


def test_windows_in_a_bucket(bucket: S3Server) -> None:
    bucket.put("w/dt=2026-11-02/a", b"1")
    now = datetime.now(UTC)
    around = Interval(now - timedelta(hours=1), now + timedelta(hours=1))
    before = Interval(now - timedelta(hours=2), now - timedelta(hours=1))
    modified = SourceSpec(uri="s3://open/w/", window="modified")
    assert len(listed(modified, around)) == 1
    assert listed(modified, before) == {}
    assert len(listed(modified.model_copy(update={"lateness": timedelta(0)}))) == 1
    path = SourceSpec(uri="s3://open/w/dt=%Y-%m-%d/", window="path")
    assert set(listed(path, Interval.parse("2026-11-01", "2026-11-05"))) == {"s3://open/w/dt=2026-11-02/a"}
    with pytest.raises(SourceError):
        listed(SourceSpec(uri="s3://nobucket/%Y/", window="path"), DAY)


def test_an_empty_prefix_lists_nothing_and_a_missing_bucket_is_an_error(bucket: S3Server) -> None:
    assert listed(SourceSpec(uri="s3://open/nothing/here/")) == {}
    for uri in ("s3://nobucket/", "s3://nobucket/a*", "s3://No_Bucket!/"):
        with pytest.raises(SourceError) as caught:
            listed(SourceSpec(uri=uri))
        assert uri in str(caught.value)
        assert caught.value.exit_code == 2


def test_refused_access_is_an_error_that_shows_no_secret(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.make_bucket("closed")
    for identity, uri in (
        (READER, "s3://closed/"),
        (("admin-key", "wrong-secret"), "s3://open/"),
        (("nobody", "other-secret"), "s3://open/"),
    ):
        bucket.use(monkeypatch, identity)
        with pytest.raises(SourceError) as caught:
            listed(SourceSpec(uri=uri))
        assert uri in caught.value.message
        assert "AWS_ACCESS_KEY_ID" in caught.value.mend
        assert identity[1] not in repr(caught.value) + str(caught.value.__cause__)


def test_a_dead_endpoint_is_worth_a_retry(bucket: S3Server) -> None:
    started = time.monotonic()
    with pytest.raises(StorageUnavailable) as caught:
        listed(SourceSpec(uri="s3://open/", storage=StorageSpec(endpoint=f"http://127.0.0.1:{free_port()}")))
    assert caught.value.retryable
    assert "s3://open/" in caught.value.message
    assert time.monotonic() - started < 120
