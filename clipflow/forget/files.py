"""The files under a table's folder, on disk or on S3."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from lance.file import LanceFileReader

from clipflow.faults import failure_kind, storage_error
from clipflow.table.address import TableAddress

_BLOCK = 8 * 2**20
_BATCH_ROWS = 8192
_LANCE_FILES = (".lance", ".idx")
_NO_LANCE_FILE = ("Not found", "Invalid user input")


@dataclass
class TableFiles:
    """What lies under the images table, by path relative to it. Files may go while they are read."""

    address: TableAddress
    _system: Any = field(init=False)

    def __post_init__(self) -> None:
        self._system = self.address.storage.filesystem(self.address.images)

    def listed(self) -> dict[str, int]:
        """Every file and its size in bytes, now.

        Raises:
            StorageUnavailable, SourceError: Storage did not answer, or refused.
        """
        root = self._system._strip_protocol(self.address.images).rstrip("/") + "/"
        try:
            self._system.invalidate_cache()
            found = self._system.find(self.address.images, detail=True)
        except Exception as error:
            raise storage_error(error, self.address.images, "list") from error
        return {path.removeprefix(root): int(about["size"] or 0) for path, about in found.items()}

    def path(self, name: str) -> str:
        """As Lance and fsspec open it."""
        return f"{self.address.images}/{name}"

    def remove(self, name: str) -> None:
        """Delete a file; one that is gone already is no error."""
        try:
            self._system.rm_file(self.path(name))
        except Exception as error:
            if failure_kind(error) != "not_found":
                raise storage_error(error, self.address.images, "clean up") from error

    def blocks(self, name: str, overlap: int) -> Iterator[bytes]:
        """A file's bytes, each block beginning with the last `overlap` bytes of the one before."""
        tail = b""
        try:
            with self._system.open(self.path(name), "rb") as file:
                while block := file.read(max(_BLOCK, 4 * overlap)):
                    yield tail + block
                    tail = (tail + block)[-overlap:] if overlap else b""
        except Exception as error:
            if failure_kind(error) != "not_found":
                raise storage_error(error, self.address.images, "read") from error

    def decoded(self, name: str, size: int, columns: list[str] | None = None) -> LanceFileReader | None:
        """The reader of a Lance file; None when it is none, is not whole, or is gone.

        Raises:
            StorageUnavailable, SourceError: It could not be looked at, so nobody knows.
        """
        # Lance panics over an empty file.
        if not size or not name.endswith(_LANCE_FILES):
            return None
        try:
            return LanceFileReader(self.path(name), storage_options=self.address.options, columns=columns)
        except (ValueError, OSError) as error:
            if "://" not in self.address.images or any(words in str(error) for words in _NO_LANCE_FILE):
                return None
            raise storage_error(error, self.address.images, "read") from error

    def batches(self, name: str, reader: LanceFileReader) -> Iterator[pa.RecordBatch]:
        """A file's rows, some thousand at a time; those of a file that goes meanwhile end early."""
        if not reader.num_rows():
            return
        try:
            yield from reader.read_all(batch_size=_BATCH_ROWS).to_batches()
        except (ValueError, OSError) as error:
            if self._system.exists(self.path(name)):
                raise storage_error(error, self.address.images, "read") from error
