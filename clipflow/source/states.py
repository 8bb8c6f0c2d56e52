"""The state of objects that a manifest names: size, ETag and time, asked for one by one."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clipflow.faults import failure_kind, storage_error
from clipflow.source.folder import find, state
from clipflow.source.listing import Listed, microseconds
from clipflow.storage import Storage
from clipflow.uri import local_path, scheme, spellings, split_s3

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
        # A file whose name has several spellings is looked for even where the manifest gives its state.
        unknown = [at for at, row in enumerate(rows) if row.etag is None or _has_spellings(row.uri)]
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
        key = split_s3(row.uri)[1]
        if not key:
            return row
        async with free:
            found = await self._head(filesystem, row.uri, key)
            absent = found is None
            if found is None and not row.uri.isascii():
                # The same name, composed or decomposed, where just one of the two is there.
                others = [(one, await self._head(filesystem, one, split_s3(one)[1])) for one in spellings(row.uri)[1:]]
                there = [(uri, head) for uri, head in others if head]
                absent = all(head is None for _, head in others)
                if len(there) == 1:
                    row, found = row._replace(uri=there[0][0]), there[0][1]
        if not found:
            return row._replace(absent=absent)
        stored, version = microseconds(found["LastModified"]), found.get("VersionId")
        return row._replace(
            etag=found.get("ETag", "").strip('"') or None,
            version=None if version == "null" else version,
            size=found["ContentLength"],
            modified=stored if row.modified is None else row.modified,
            stored=stored,
        )

    async def _head(self, filesystem: Any, uri: str, key: str) -> dict[str, Any] | None:
        """What the store says of an object: None where there is none, nothing where it could not be asked."""
        try:
            head: dict[str, Any] = await filesystem._call_s3("head_object", Bucket=split_s3(uri)[0], Key=key)
        except Exception as error:
            kind = failure_kind(error)
            if kind is None:
                raise
            self._count(error, uri)
            return None if kind == "not_found" else {}
        self._answered = True
        return head

    def _count(self, error: Exception, uri: str) -> None:
        if failure_kind(error) in ("timeout", "network"):
            self._silent += 1
            if self._silent >= _SILENT and not self._answered:
                raise storage_error(error, uri, "read")
        else:
            self._answered = True


def _has_spellings(uri: str) -> bool:
    """Whether a file may be there under another name; to look costs no request."""
    return scheme(uri) == "file" and ("%" in uri or not uri.isascii())


def _of_file(row: Listed) -> Listed:
    try:
        found = find(row.uri)
        if found is None:
            os.stat(local_path(row.uri))
            return row
        row = row._replace(uri=found)
        if row.etag is not None:
            return row
        etag, size, modified = state(local_path(found))
    except (FileNotFoundError, NotADirectoryError):
        return row._replace(absent=row.etag is None)
    except (OSError, ValueError):
        return row
    return row._replace(etag=etag, size=size, modified=modified if row.modified is None else row.modified)
