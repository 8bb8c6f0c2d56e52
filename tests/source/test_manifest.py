"""Listing the rows of a manifest."""

import gzip
import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from clipflow.errors import ClipflowError, JobFileError, NotYet, SourceError, StorageUnavailable
from clipflow.interval import Interval
from clipflow.source import list_source, listing_schema
from clipflow.spec import SourceSpec, StorageSpec
from clipflow_airflow.stack.ports import free_port
from tests.s3 import S3Server

DAY = Interval.parse("2026-11-02", "2026-11-03")


def rows(source: SourceSpec, interval: Interval | None = None) -> list[dict[str, Any]]:
    found = []
    for batch in list_source(source, interval):
        assert batch.schema == listing_schema(source)
        batch.validate(full=True)
        found += batch.to_pylist()
    return found


def manifest(uri: Path | str, **keys: Any) -> SourceSpec:
    return SourceSpec(kind="manifest", uri=str(uri), **keys)


def refused(kind: type[ClipflowError], uri: Path | str, interval: Interval | None = None, **keys: Any) -> ClipflowError:
    with pytest.raises(kind) as caught:
        rows(manifest(uri, **keys), interval)
    assert str(caught.value)
    return caught.value


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz", "jsonl", "ndjson", "jsonl.gz"])
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "a b.jpg").write_bytes(b"1234")
    table = pa.table(
        {
            "other": [1, 2, 3],
            "uri": ["a b.jpg", str(tmp_path / "gone.jpg"), "a b.jpg"],
            "text": ["two\nlines, “quoted”", None, "NA"],
            "who": ["007", None, "ünï"],
        }
    )
    path = tmp_path / f"m.{suffix}"
    if suffix == "parquet":
        parquet.write_table(table, path)
    elif suffix.startswith("csv"):
        csv.write_csv(table, path.with_suffix("") if suffix.endswith("gz") else path)
    else:
        lines = "\n".join(json.dumps({k: v for k, v in row.items() if v is not None}) for row in table.to_pylist())
        (path.with_suffix("") if suffix.endswith("gz") else path).write_text(lines + "\n\n")
    if suffix.endswith("gz"):
        path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))
    found = rows(manifest(path, caption="text", attributes=("who",)))
    assert [row["source_uri"] for row in found] == [
        f"file://{tmp_path}/{n}" for n in ("a b.jpg", "gone.jpg", "a b.jpg")
    ]
    assert [row["caption"] for row in found] == ["two\nlines, “quoted”", None, "NA"]
    assert [row["attr_who"] for row in found] == ["007", None, "ünï"]
    assert [row["source_size"] for row in found] == [4, None, 4]
    state = (tmp_path / "a b.jpg").stat()
    assert found[0]["source_etag"] == f"{state.st_mtime_ns:x}-4"
    assert found[1]["source_etag"] is None
    assert found[1]["source_modified"] is None


def test_values_become_text(tmp_path: Path) -> None:
    lines = [
        {"uri": "a", "x": 7},
        {"uri": "b", "x": True},
        {"uri": "c", "x": "word"},
        {"uri": "d", "x": 1.5},
        {"uri": "e"},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = rows(manifest(tmp_path / "m.jsonl", attributes=("x",)))
    assert [row["attr_x"] for row in found] == ["7", "true", "word", "1.5", None]


def test_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("URL,Caption\na,b\n")
    error = refused(SourceError, tmp_path / "m.csv")
    assert "URL" in error.mend
    assert "Caption" in error.message
    (tmp_path / "m.csv").write_text("uri,Caption\na,b\n")
    error = refused(JobFileError, tmp_path / "m.csv", caption="caption")
    assert "'Caption'" in error.mend
    assert "source.caption" in error.message
    assert "source.attributes" in refused(JobFileError, tmp_path / "m.csv", attributes=("who",)).message
    assert "source.modified" in refused(JobFileError, tmp_path / "m.csv", modified="at").message


@pytest.mark.parametrize(
    ("text", "place"),
    [("uri\n\na\n\n,\n", ""), ('uri,x\na,1\n"",2\n', "Line 3"), ("uri,x\nftp://h/a,1\n", "Line 2")],
)
def test_a_row_without_an_address_is_named(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    assert place in refused(SourceError, tmp_path / "m.csv").message


def test_lines_of_jsonl_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    for wrong in ('{"uri": null}', '{"uri": 5}', "{", "[]", '{"uri": "s3://user:hunter2@b/k"}'):
        path.write_text('{"uri": "a"}\n\n' + wrong)
        error = refused(SourceError, path)
        assert "Line 3" in error.message
        assert "hunter2" not in str(error)


def test_http_is_not_there_yet(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri\nhttps://host/a.jpg?X-Amz-Signature=hunter2\n")
    error = refused(NotYet, tmp_path / "m.csv")
    assert "later version" in error.message
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("name", ["m.parquet", "m.csv", "m.jsonl", "m.csv.gz", "m.jsonl.gz", "m.txt"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\xfe\x00 nonsense \n" * 3)
    refused(SourceError, tmp_path / name)
    (tmp_path / name).unlink()
    refused(SourceError, tmp_path / name)
    (tmp_path / name).mkdir()
    refused(SourceError, tmp_path / name)


def test_a_truncated_manifest_is_refused(tmp_path: Path) -> None:
    text = "uri\n" + "".join(f"{at * 7919 % 100_003}.jpg\n" for at in range(20_000))
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(text.encode())[:20_000])
    refused(SourceError, tmp_path / "m.csv.gz")
    parquet.write_table(pa.table({"uri": ["a"] * 10_000}), tmp_path / "m.parquet")
    (tmp_path / "m.parquet").write_bytes((tmp_path / "m.parquet").read_bytes()[:-20])
    refused(SourceError, tmp_path / "m.parquet")


@pytest.mark.parametrize("kind", ["csv", "parquet", "days"])
def test_the_modified_column_decides_the_window(tmp_path: Path, kind: str) -> None:
    (tmp_path / "b").write_bytes(b"1")
    if kind == "csv":
        path = tmp_path / "m.csv"
        path.write_text("uri,at\na,2026-11-01\nb,2026-11-02T00:00\nc,2026-11-03T00:59+01:00\nd,2026-11-03T00:00Z\n")
        second = datetime(2026, 11, 2, 23, 59, tzinfo=UTC)
    elif kind == "parquet":
        path, second = tmp_path / "m.parquet", datetime(2026, 11, 2, 23, 59, tzinfo=UTC)
        naive = [datetime(2026, 11, 1), datetime(2026, 11, 2), second.replace(tzinfo=None), datetime(2026, 11, 3)]
        parquet.write_table(pa.table({"uri": list("abcd"), "at": pa.array(naive, pa.timestamp("ns"))}), path)
    else:
        path, second = tmp_path / "m.parquet", datetime(2026, 11, 2, tzinfo=UTC)
        parquet.write_table(pa.table({"uri": list("abcd"), "at": [date(2026, 11, day) for day in (1, 2, 2, 3)]}), path)
    found = rows(manifest(path, window="modified", modified="at"), DAY)
    assert [row["source_uri"][-1] for row in found] == ["b", "c"]
    assert [row["source_modified"] for row in found] == [datetime(2026, 11, 2, tzinfo=UTC), second]
    assert found[0]["source_size"] == 1
    assert len(rows(manifest(path, window="modified", modified="at"))) == 4


def test_a_row_without_a_time_is_in_no_window(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("uri,at\na,2026-11-02\nb,\n")
    assert "Line 3" in refused(SourceError, path, DAY, window="modified", modified="at").message
    assert len(rows(manifest(path, window="modified", modified="at"))) == 2
    path.write_text("uri,at\na,yesterday\n")
    assert "Line 2" in refused(SourceError, path, window="modified", modified="at").message


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_objects_whose_state_is_in_the_manifest_are_not_asked(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    (tmp_path / "c.jpg").write_bytes(b"123")
    table = pa.table(
        {
            "uri": ["s3://nobody/a.jpg", "b.jpg", "c.jpg"],
            "tag": ['"0f-1"', "0e", None],
            "bytes": [40, 5_000_000_000, 7],
        }
    )
    csv.write_csv(table, path) if suffix == "csv" else parquet.write_table(table, path)
    # Nothing listens there: a request would take seconds and fail.
    dead = StorageSpec(endpoint=f"http://127.0.0.1:{free_port()}")
    found = rows(manifest(path, etag="tag", size="bytes", storage=dead))
    assert [(row["source_etag"], row["source_size"]) for row in found[:2]] == [("0f-1", 40), ("0e", 5_000_000_000)]
    assert found[0]["source_modified"] is None
    assert (found[2]["source_size"], found[2]["source_modified"] is None) == (3, False)


def test_a_state_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("uri,tag,bytes\na,x,1\nb,x,many\n")
    assert "Line 3" in refused(SourceError, path, etag="tag", size="bytes").message
    with pytest.raises(ValueError, match="together"):
        manifest(path, etag="tag")
    with pytest.raises(ValueError, match="column of a manifest"):
        SourceSpec(uri="s3://a/", etag="tag", size="bytes")


def test_window_path_renders_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "2026-11-02").mkdir()
    (tmp_path / "2026-11-02" / "m.csv").write_text("uri\na\n")
    source = manifest(f"{tmp_path}/%Y-%m-%d/m.csv", window="path")
    assert [row["source_uri"] for row in rows(source, Interval.parse("2026-11-01", "2026-11-04"))] == [
        f"file://{tmp_path}/2026-11-02/a"
    ]
    refused(SourceError, f"{tmp_path}/no/%Y/m.csv", DAY, window="path")


def test_many_rows_come_in_bounded_batches_in_order(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri\n" + "".join(f"{at}\n" for at in range(10_500)))
    batches = list(list_source(manifest(tmp_path / "m.csv")))
    assert [batch.num_rows for batch in batches] == [10_000, 500]
    assert [row["source_uri"].rpartition("/")[2] for batch in batches for row in batch.to_pylist()] == [
        str(at) for at in range(10_500)
    ]


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    s3.use(monkeypatch)
    return s3


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl.gz"])
def test_a_manifest_in_a_bucket(bucket: S3Server, tmp_path: Path, suffix: str) -> None:
    bucket.put("man/img/a b#?.jpg", b"1234")
    local = tmp_path / "here.jpg"
    local.write_bytes(b"1")
    names = ["img/a b#?.jpg", "s3://open/man/gone.jpg", "s3://nobucket/x.jpg", f"file://{local}", "/man/img/a b#?.jpg"]
    path = tmp_path / "m"
    if suffix == "parquet":
        parquet.write_table(pa.table({"uri": names}), path)
    elif suffix == "csv":
        csv.write_csv(pa.table({"uri": names}), path)
    else:
        path.write_bytes(gzip.compress("\n".join(json.dumps({"uri": name}) for name in names).encode()))
    uri = bucket.put(f"man/m.{suffix}", path.read_bytes())
    found = rows(manifest(uri))
    inside = "s3://open/man/img/a b#?.jpg"
    assert [row["source_uri"] for row in found] == [inside, *names[1:4], inside], "a slash is the bucket's root"
    assert [row["source_size"] for row in found] == [4, None, None, 1, 4]
    whole = next(iter(rows(SourceSpec(uri="s3://open/man/img/"))))
    assert whole | {"source_version": None} == found[0] | {"source_version": None}


def test_a_missing_manifest_in_a_bucket(bucket: S3Server) -> None:
    assert "s3://open/man/no.csv" in refused(SourceError, "s3://open/man/no.csv").message
    refused(SourceError, "s3://nobucket/no.csv")
    assert rows(manifest("s3://open/man/%Y/no.csv", window="path"), DAY) == []
    refused(SourceError, "s3://nobucket/%Y/no.csv", DAY, window="path")


def test_a_service_that_never_answers_ends_the_listing(bucket: S3Server, tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("uri\n" + "".join(f"s3://open/{at}\n" for at in range(500)))
    dead = StorageSpec(endpoint=f"http://127.0.0.1:{free_port()}")
    assert refused(StorageUnavailable, tmp_path / "m.csv", storage=dead).retryable
