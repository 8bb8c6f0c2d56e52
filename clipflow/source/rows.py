"""Reading the rows of a table file, parquet, csv or jsonl, as a stream."""

import io
import itertools
import json
import stat
from collections.abc import Callable, Iterable, Iterator
from os import stat as stat_file
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import csv, parquet

from clipflow.errors import ClipflowError, SourceError
from clipflow.faults import failure_kind, storage_error
from clipflow.storage import Storage
from clipflow.uri import local_path, scheme, shown, split_s3

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_READ_ROWS = 4096
_HEAD_ROWS = 1000

Opened = Callable[[], Any]
Check = Callable[[list[str], str], list[str]]


class Row(NamedTuple):
    """One row: where it stands, for errors, and its values by column."""

    place: str
    values: dict[str, Any]


def exists(storage: Storage, uri: str) -> bool:
    """Whether a table file is there.

    Raises:
        SourceError: The bucket is missing, or access is refused.
        StorageUnavailable: Storage did not answer.
    """
    try:
        if scheme(uri) == "file":
            stat_file(local_path(uri))
            return True
        bucket, key = split_s3(uri)
        # A listing tells a missing bucket from a missing object; a look at the object does not.
        answer = storage.filesystem(uri).call_s3("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=1)
        return any(one["Key"] == key for one in answer.get("Contents", []))
    except Exception as error:
        if scheme(uri) == "file" and failure_kind(error) == "not_found":
            return False
        raise storage_error(error, uri, "read") from error


def read_rows(storage: Storage, uri: str, check: Check) -> Iterator[Row]:
    """Every row of a table file in its order, a few thousand in memory at a time.

    Args:
        storage: Where S3 answers.
        uri: Canonical address; its suffix names the format: .parquet, .csv, .jsonl or .ndjson,
            the last three also with .gz, .zst or .bz2 behind it.
        check: Called with the columns found and the address; returns those to read.

    Raises:
        SourceError: Not such a file, or it cannot be parsed.
        StorageUnavailable: Storage did not answer.
    """
    name = uri.lower()
    compression = next((kind for suffix, kind in _COMPRESSIONS.items() if name.endswith(suffix)), None)
    plain = name.rpartition(".")[0] if compression else name
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    reader = next((made for suffix, made in readers.items() if plain.endswith(suffix)), None)
    if reader is None:
        raise SourceError(f"{shown(uri)} is no manifest by its name.", "Name a .parquet, .csv or .jsonl file.")
    try:
        yield from reader(lambda: _open(storage, uri, compression), uri, check)
    except ClipflowError:
        raise
    except Exception as error:
        if _unreadable(error):
            text = " ".join(str(error).split())[:300]
            mend = "Write it as UTF-8 in the format that its name says."
            raise SourceError(f"{shown(uri)} cannot be parsed: {text}", mend) from error
        if failure_kind(error) is None:
            raise
        raise storage_error(error, uri, "read") from error


def _unreadable(error: Exception) -> bool:
    """Whether the bytes are wrong, not the way to them: Arrow raises a bare OSError for broken compression."""
    parsing = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeDecodeError)
    bare = type(error) is OSError and error.errno is None and error.__cause__ is None
    return isinstance(error, parsing) or bare


def _open(storage: Storage, uri: str, compression: str | None) -> Any:
    if scheme(uri) == "file":
        path = local_path(uri)
        if not stat.S_ISREG(stat_file(path).st_mode):
            raise SourceError(f"{shown(uri)} is not a file.", "Name the manifest itself, or choose kind: objects.")
        file: Any = io.BufferedReader(io.FileIO(path))
    else:
        file = storage.filesystem(uri).open(uri, "rb")
    return pa.input_stream(file, compression=compression) if compression else file


def _parquet(opened: Opened, uri: str, check: Check) -> Iterator[Row]:
    with opened() as file:
        table = parquet.ParquetFile(file)
        wanted = check(table.schema_arrow.names, uri)
        at = 0
        for batch in table.iter_batches(_READ_ROWS, columns=wanted):
            for values in batch.to_pylist():
                at += 1
                yield Row(f"Row {at}", values)


def _csv(opened: Opened, uri: str, check: Check) -> Iterator[Row]:
    parse = csv.ParseOptions(newlines_in_values=True)
    with opened() as file:
        wanted = check(csv.open_csv(file, parse_options=parse).schema.names, uri)
    # Every column is text: guessed types would turn "007" into 7 and fail on a word far down the file.
    convert = csv.ConvertOptions(
        include_columns=wanted,
        column_types={name: pa.string() for name in wanted},
        strings_can_be_null=True,
        null_values=[""],
    )
    with opened() as file:
        at = 1
        for batch in csv.open_csv(file, parse_options=parse, convert_options=convert):
            for values in batch.to_pylist():
                at += 1
                yield Row(f"Line {at}", values)


def _jsonl(opened: Opened, uri: str, check: Check) -> Iterator[Row]:
    # Line by line: a column may hold numbers here and words there, which a columnar reader refuses.
    with opened() as file, io.TextIOWrapper(file, "utf-8-sig") as lines:
        rows = _objects(lines, uri)
        # Keys may be left out where they are null, so one line does not know every column.
        first = list(itertools.islice(rows, _HEAD_ROWS))
        wanted = check(list(dict.fromkeys(name for row in first for name in row.values)), uri) if first else []
        for row in itertools.chain(first, rows):
            yield row._replace(values={name: row.values.get(name) for name in wanted})


def _objects(lines: Iterable[str], uri: str) -> Iterator[Row]:
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError as error:
            raise SourceError(f"Line {at} of {shown(uri)} is not JSON: {error}.", "Write one object a line.") from None
        if not isinstance(values, dict):
            raise SourceError(f"Line {at} of {shown(uri)} is not a JSON object.", "Write one object a line.")
        yield Row(f"Line {at}", values)
