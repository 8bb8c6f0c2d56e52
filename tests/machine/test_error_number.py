"""Which error of the operating system a library's error is, and what becomes of it."""

import errno

import duckdb
import pyarrow as pa
import pytest

from clipflow.error_number import error_number
from clipflow.errors import ClipflowError, MachineError, OutOfMemory, StorageUnavailable, TableError
from clipflow.faults import storage_error
from clipflow.machine import machine_error
from clipflow.refusals import in_our_words, refusals


class OutOfDiskError(Exception):
    """As Ray names it."""


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOSPC, "x"), errno.ENOSPC),
        (FileNotFoundError("only a path"), errno.ENOENT),
        (MemoryError(), errno.ENOMEM),
        (pa.ArrowMemoryError("malloc of size 9 failed"), errno.ENOMEM),
        (OutOfDiskError("local disk is full"), errno.ENOSPC),
        # Lance
        (
            OSError("LanceError(IO): Unable to copy data to file: No space left on device (os error 28), /x"),
            errno.ENOSPC,
        ),
        (ValueError("LanceError(IO): Disk quota exceeded (os error 122)"), errno.EDQUOT),
        # pyarrow
        (
            OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device"),
            errno.ENOSPC,
        ),
        # DuckDB
        (duckdb.IOException('IO Error: Could not write file "/x": No space left on device'), errno.ENOSPC),
        (duckdb.IOException('{"exception_message":"Could not write","errno":"122"}'), errno.EDQUOT),
        (duckdb.OutOfMemoryException("failed to allocate data of size 4 GiB"), errno.ENOMEM),
        (duckdb.OutOfMemoryException("failed to offload data block: 'max_temp_directory_size'"), errno.ENOSPC),
        # Rust
        (RuntimeError('Os { code: 24, kind: TooManyOpenFiles, message: "…" }'), errno.EMFILE),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), errno.ENOMEM),
        (ValueError("no number"), None),
        (KeyError("No space"), None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_error_number(error: Exception, number: int | None) -> None:
    assert error_number(error) == number
    wrapped = RuntimeError("something vague")
    wrapped.__cause__ = error
    assert error_number(wrapped) == number


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (OSError(errno.ENOSPC, "x", "/data/file"), StorageUnavailable, "Cannot write to /data/file: no space is left"),
        (OSError(errno.EISDIR, "x", "/data"), MachineError, "Cannot use /data: it is a folder."),
        (OSError(errno.EMFILE, "x", "/data"), MachineError, "This process may not open more files."),
        (duckdb.IOException('Could not read "/data/x": Input/output error'), StorageUnavailable, "/data/x"),
        (MemoryError(), OutOfMemory, "Memory ran out."),
        (ConnectionResetError(), StorageUnavailable, "Storage did not answer."),
        (OSError("LanceError(IO): error sending request for url (http://x)"), StorageUnavailable, "did not answer"),
        (pa.ArrowInvalid("External error: Not found: lake/t.lance/data/1.lance, /rust"), StorageUnavailable, "data/1"),
        (OSError("LanceError(IO): failed to fill whole buffer, /rust/lance-io"), TableError, "missing or damaged"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_defect_explains(error: Exception, kind: type[ClipflowError], words: str) -> None:
    with pytest.raises(kind, match=words.replace("(", "\\(")) as caught, refusals():
        raise error
    assert caught.value.__cause__ is error
    assert caught.value.mend


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        KeyError("x"),
        OSError(errno.EINVAL, "x"),
        ValueError("LanceError(Schema): no such field, /rust/lance-core"),
    ],
)
def test_what_only_a_defect_explains(error: Exception) -> None:
    assert machine_error(error) is None
    assert in_our_words(error) is None
    with pytest.raises(type(error)), refusals():
        raise error


def test_an_error_of_ours_stays_as_it_is() -> None:
    ours = TableError("It is wrong.")
    assert in_our_words(ours) is ours
    with pytest.raises(TableError) as caught, refusals():
        raise ours
    assert caught.value is ours


def test_a_damaged_table_is_not_an_unreachable_store() -> None:
    damaged = ValueError("LanceError(IO): file size is too small, /rust/lance-table")
    assert not storage_error(damaged, "/lake/t.lance", "open the table").retryable
    assert "AWS" not in storage_error(damaged, "/lake/t.lance", "open the table").mend
    # Whether a bucket answers can only be told by asking again.
    assert storage_error(damaged, "s3://lake/t.lance", "open the table").retryable
