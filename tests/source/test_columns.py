"""Which columns of a manifest hold what, and what an error shows of them."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from clipflow.errors import ClipflowError, JobFileError, SourceError
from tests.source.rows.read import listed, write


def line(**cells: Any) -> str:
    return json.dumps({"uri": "a", **cells}) + "\n"


def refused(path: Path, kind: type[ClipflowError] = SourceError, **keys: Any) -> str:
    with pytest.raises(kind) as caught:
        listed(path, **keys)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1200
    return str(caught.value)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_column_of_addresses_may_have_another_name(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"m.{suffix}"
    if suffix == "csv":
        path.write_text("URL,uri\na.png,7\n")
    elif suffix == "jsonl":
        path.write_text('{"URL": "a.png", "uri": "7"}\n')
    else:
        parquet.write_table(pa.table({"URL": ["a.png"], "uri": ["7"]}), path)
    (row,) = listed(path, uri_column="URL", attributes=("uri",))
    assert row["source_uri"] == f"file://{tmp_path}/a.png"
    assert row["attr_uri"] == "7"
    assert "'URL'" in refused(path, JobFileError, uri_column="url")
    assert "source.uri_column" in refused(path, JobFileError, uri_column="address")


def test_a_manifest_without_uri_says_how_to_name_it(tmp_path: Path) -> None:
    text = refused(write(tmp_path / "m.csv", "Url,caption\na,b\n"))
    assert "'Url'" in text
    assert "source.uri_column" in text
    assert "source.uri_column" in refused(write(tmp_path / "m.csv", "picture\na\n"))


@pytest.mark.parametrize(
    ("cells", "etag", "size"),
    [
        ({"tag": '"x"', "bytes": 5}, "x", 5),
        ({"tag": "x", "bytes": " 5 "}, "x", 5),
        ({"tag": 7, "bytes": 5.0}, "7", 5),
        ({"tag": "x", "bytes": None}, None, None),
        ({"tag": "", "bytes": 5}, None, None),
        ({"tag": "x", "bytes": ""}, None, None),
    ],
)
def test_the_state_that_a_manifest_gives(tmp_path: Path, cells: dict[str, Any], etag: str | None, size: int) -> None:
    (row,) = listed(write(tmp_path / "m.jsonl", line(**cells)), etag="tag", size="bytes")
    assert (row["source_etag"], row["source_size"]) == (etag, size)


@pytest.mark.parametrize("size", [-1, 1.5, True, "many", "\u001b[31m9", 10**30, "9" * 30_000, [5], {"n": 5}])
def test_a_size_that_is_none_is_named(tmp_path: Path, size: object) -> None:
    path = write(tmp_path / "m.jsonl", line(tag="x", bytes=1) + line(tag="x", bytes=size))
    assert "Line 2" in refused(path, etag="tag", size="bytes")


def test_sizes_with_gaps_are_floats_in_parquet(tmp_path: Path) -> None:
    table = pa.table({"uri": ["a", "b"], "tag": ["x", "y"], "bytes": [5.0, float("nan")]})
    found = listed(write(tmp_path / "m.parquet", table), etag="tag", size="bytes")
    assert [(row["source_etag"], row["source_size"]) for row in found] == [("x", 5), (None, None)]
    assert "Row 1" in refused(write(tmp_path / "m.parquet", table), etag="tag", size="tag")


@pytest.mark.parametrize("at", [5, True, "soon", "\u001b[31m" + "x" * 9000, "0001-01-01T00:00+14:00", ["2026-01-01"]])
def test_a_time_that_is_none_is_named(tmp_path: Path, at: object) -> None:
    path = write(tmp_path / "m.jsonl", line(at="2026-11-02") + line(at=at))
    assert "Line 2" in refused(path, modified="at")


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ns"), pa.timestamp("us", "Europe/Berlin"), pa.timestamp("ms", "No/Such")]
)
def test_times_of_parquet(tmp_path: Path, kind: pa.DataType) -> None:
    unit = {"ms": 1000, "us": 10**6, "ns": 10**9}[kind.unit]
    moments = pa.array([1_700_000_000 * unit + unit // 10, None], pa.int64()).cast(kind)
    found = listed(write(tmp_path / "m.parquet", pa.table({"uri": ["a", "b"], "at": moments})), modified="at")
    assert [row["source_modified"] for row in found] == [datetime(2023, 11, 14, 22, 13, 20, 100_000, UTC), None]


@pytest.mark.parametrize(
    "uri", ["ftp://host/", "s3:///", "file://host/", "https://host/", "s3://user:secret@b/", "\0", "\u202e\0"]
)
def test_an_error_shows_little_of_a_wrong_address_and_nothing_that_a_terminal_obeys(tmp_path: Path, uri: str) -> None:
    text = refused(write(tmp_path / "m.jsonl", line() + line(uri=f"{uri}\u001b[31m{'x' * 9000}")), ClipflowError)
    assert "Line 2" in text
    assert "secret" not in text


def test_an_error_shows_few_columns(tmp_path: Path) -> None:
    names = [f"column{at}" for at in range(5000)] + ["\u001b[31m", "x" * 9000]
    text = refused(write(tmp_path / "m.csv", ",".join(names[::-1]) + "\n"))
    assert "4982 more" in text
