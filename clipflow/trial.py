"""Trial: may a run write here? Found out by writing, as rights, quotas and file systems do not all say so."""

import os
import uuid

from clipflow.errors import ClipflowError, TableError
from clipflow.faults import storage_error
from clipflow.machine import machine_error, temporary_folder
from clipflow.scratch import Scratch
from clipflow.table.address import TableAddress

_BYTES = 2**20


def try_temporary_folder() -> None:
    """Raises MachineError or StorageUnavailable when a run could not keep its files there."""
    with Scratch() as scratch:
        try:
            (scratch.path / "trial").write_bytes(bytes(_BYTES))
        except OSError as error:
            raise machine_error(error, temporary_folder()) or error from error


def try_table(address: TableAddress) -> None:
    """Write beside the table, and where it is there in it, as a commit does; nothing is left behind.

    Raises:
        TableError, StorageUnavailable: It cannot be written.
    """
    if "://" in address.images:
        _try_bucket(address)
        return
    for folder in dict.fromkeys((address.folder, address.images)):
        # What is not there yet is made by the run, below the nearest folder that is.
        while not os.path.lexists(folder):
            folder = os.path.dirname(folder)
        _try_folder(folder, address.images)


def _try_folder(folder: str, table: str) -> None:
    if os.path.islink(folder) and not os.path.exists(folder):
        raise _as_table(storage_error(FileExistsError(), table, "write to the table"))
    trial = os.path.join(folder, f".clipflow-doctor-{uuid.uuid4().hex}")
    try:
        try:
            with open(trial, "wb") as file:
                file.write(bytes(_BYTES))
            # The last step of a commit: of several writers one wins the name.
            os.link(trial, f"{trial}.linked")
        finally:
            for path in (trial, f"{trial}.linked"):
                if os.path.lexists(path):
                    os.remove(path)
    except OSError as error:
        raise _as_table(storage_error(error, table, "write to the table")) from error


def _try_bucket(address: TableAddress) -> None:
    filesystem = address.storage.filesystem(address.images)
    trial = f"{address.folder}/.clipflow-doctor-{uuid.uuid4().hex}"
    try:
        filesystem.pipe_file(trial, b"")
        filesystem.rm_file(trial)
    except Exception as error:
        raise _as_table(storage_error(error, address.folder, "write to the table's folder")) from error


def _as_table(error: ClipflowError) -> ClipflowError:
    return error if error.retryable else TableError(error.message, error.mend)
