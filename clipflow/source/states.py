"""The state of objects that a manifest names: size, ETag and time, asked for one by one."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clipflow.faults import failure_kind, storage_error
from clipflow.source.folder import state
from clipflow.source.listing import Listed, microseconds
from clipflow.storage import Storage
from clipflow.uri import local_path, scheme, split_s3

_FILES_AT_ONCE = 8
_HEADS_AT_ONCE = 32
_SILENT = 20


class States:
    """Asks storage for the state of listed images, many at once.

    A single object that cannot be asked keeps a null state. A service that never answers at all
    ends the listing: waiting for each of a million time-outs would take weeks.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._answered = False
        self._silent = 0

    def fill(self, rows: Sequence[Listed]) -> list[Listed]:
        """The same rows in the same order, with what storage says; those that have an entity tag are as they were.

        A time from the manifest stays.

        Raises:
            StorageUnavailable: The first 20 objects of S3 gave no answer.
            SourceError: The storage as a whole is set up wrongly.
        """
        filled = list(rows)
        unknown = [at for at, row in enumerate(rows) if row.etag is None]
        files = [at for at in unknown if scheme(rows[at].uri) == "file"]
        objects = [at for at in unknown if scheme(rows[at].uri) == "s3"]
        if files:
            with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
                for at, row in zip(files, pool.map(_of_file, [rows[at] for at in files]), strict=True):
                    filled[at] = row
        if objects:
            for at, row in zip(objects, self._of_objects([rows[at] for at in objects]), strict=True):
                filled[at] = row
        return filled

    def _of_objects(self, rows: list[Listed]) -> list[Listed]:
        from fsspec.asyn import sync

        filesystem = self._storage.filesystem(rows[0].uri)

        async def all_of_them() -> list[Listed]:
            free = asyncio.Semaphore(_HEADS_AT_ONCE)
            return await asyncio.gather(*(self._of_object(filesystem, row, free) for row in rows))

        filled: list[Listed] = sync(filesystem.loop, all_of_them)
        return filled

    async def _of_object(self, filesystem: Any, row: Listed, free: asyncio.Semaphore) -> Listed:
        bucket, key = split_s3(row.uri)
        if not key:
            return row
        async with free:
            try:
                head = await filesystem._call_s3("head_object", Bucket=bucket, Key=key)
            except Exception as error:
                if failure_kind(error) is None:
                    raise
                self._count(error, row.uri)
                return row
        self._answered = True
        modified = microseconds(head["LastModified"]) if row.modified is None else row.modified
        version = head.get("VersionId")
        return row._replace(
            etag=head.get("ETag", "").strip('"') or None,
            version=None if version == "null" else version,
            size=head["ContentLength"],
            modified=modified,
        )

    def _count(self, error: Exception, uri: str) -> None:
        if failure_kind(error) in ("timeout", "network"):
            self._silent += 1
            if self._silent >= _SILENT and not self._answered:
                raise storage_error(error, uri, "read")
        else:
            self._answered = True


def _of_file(row: Listed) -> Listed:
    try:
        etag, size, modified = state(local_path(row.uri))
    except (OSError, ValueError):
        return row
    return row._replace(etag=etag, size=size, modified=modified if row.modified is None else row.modified)
