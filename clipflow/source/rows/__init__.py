"""The rows of a table file: a manifest, or a file of labels.

    read_rows(storage, uri, check) ─▶ rows with the place where each stands, and the wanted cells

`csv`, `jsonl` and `parquet` read one format each, `lines` gives the first two their lines, `cells` says what a cell
may hold. What cannot be read for certain is refused with its line or row: no reader guesses, and none drops a row.
"""

import io
import stat
from collections.abc import Iterator
from os import stat as stat_file
from typing import Any

import pyarrow as pa

from clipflow.errors import ClipflowError, SourceError
from clipflow.faults import failure_kind, storage_error
from clipflow.source.rows.cells import Check, Kind, Row, listed, piece, printable
from clipflow.source.rows.csv import read_csv
from clipflow.source.rows.jsonl import read_jsonl
from clipflow.source.rows.parquet import read_parquet
from clipflow.storage import Storage
from clipflow.uri import local_path, scheme, shown, split_s3

__all__ = ["Kind", "Row", "exists", "listed", "piece", "printable", "read_rows"]

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_READERS = {".parquet": read_parquet, ".csv": read_csv, ".jsonl": read_jsonl, ".ndjson": read_jsonl}


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
        check: Called with the columns found and the address; returns those to read, and what their cells may hold.

    Raises:
        SourceError: Not such a file, or it cannot be parsed, or a cell holds what it may not; the line is named.
        StorageUnavailable: Storage did not answer.
    """
    name = uri.lower()
    compression = next((kind for suffix, kind in _COMPRESSIONS.items() if name.endswith(suffix)), None)
    plain = name.rpartition(".")[0] if compression else name
    suffix = next((suffix for suffix in _READERS if plain.endswith(suffix)), None)
    if suffix is None:
        raise SourceError(f"{shown(uri)} is no manifest by its name.", "Name a .parquet, .csv or .jsonl file.")
    if compression and suffix == ".parquet":
        raise SourceError(f"{shown(uri)} is a compressed parquet file.", "Unpack it: parquet compresses by itself.")
    try:
        yield from _READERS[suffix](lambda: _open(storage, uri, compression), uri, check)
    except ClipflowError:
        raise
    except Exception as error:
        if _unreadable(error):
            mend = "Write it anew in the format that its name says."
            why = printable(str(error), 300).rstrip(". ")
            raise SourceError(f"{shown(uri)} cannot be parsed: {why}.", mend) from error
        if failure_kind(error) is None:
            raise
        raise storage_error(error, uri, "read") from error


def _unreadable(error: Exception) -> bool:
    """Whether the bytes are wrong, not the way to them: Arrow raises a bare OSError for broken compression."""
    bare = type(error) is OSError and error.errno is None and error.__cause__ is None
    return isinstance(error, pa.ArrowException | UnicodeDecodeError) or bare


def _open(storage: Storage, uri: str, compression: str | None) -> Any:
    if scheme(uri) == "file":
        path = local_path(uri)
        if not stat.S_ISREG(stat_file(path).st_mode):
            raise SourceError(f"{shown(uri)} is not a file.", "Name the manifest itself, or choose kind: objects.")
        file: Any = io.BufferedReader(io.FileIO(path))
    else:
        file = storage.filesystem(uri).open(uri, "rb")
    return pa.input_stream(file, compression=compression) if compression else file
