"""Fetching: an address becomes bytes, or the code of why not."""

import asyncio
import os
import stat
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

from clipflow.failures import ImageFailure
from clipflow.faults import failure_kind
from clipflow.spec import Limits
from clipflow.storage import Storage
from clipflow.uri import local_path, scheme, split_s3

S3_AT_ONCE = 16
FILES_AT_ONCE = 4
# A body that trickles in never trips the time-out of a single read.
BODY_SECONDS = 300
PAUSES = (0.2, 0.8)


class Body(NamedTuple):
    """The bytes of one object, and the store's id of the version that they are, where it keeps versions."""

    data: bytes
    version: str | None = None


@dataclass(frozen=True)
class Fetcher:
    """Reads images from files and S3. Picklable; connections are made in the process that reads.

    Args:
        storage: Where S3 answers.
        limits: `max_bytes` is the largest image that is read.
    """

    storage: Storage
    limits: Limits

    def fetch(self, uri: str) -> bytes:
        """The bytes of one canonical address, at least one and at most `limits.max_bytes`.

        Raises:
            ImageFailure: empty, too_large, not_an_image (no regular file), not_found, forbidden, timeout, network.
        """
        got = self.fetch_many([uri])[0]
        if isinstance(got, ImageFailure):
            raise got
        return got.data

    def fetch_many(self, uris: Sequence[str]) -> list[Body | ImageFailure]:
        """The body, or the failure, of each canonical address, in order; several are read at once.

        All results are held together: callers bound the number of addresses.

        Raises:
            ClipflowError: The storage as a whole is set up wrongly: an unknown profile, a broken endpoint.
        """
        got: dict[int, Body | ImageFailure] = {}
        files = [at for at, uri in enumerate(uris) if scheme(uri) == "file"]
        objects = [at for at, uri in enumerate(uris) if scheme(uri) == "s3"]
        if len(files) == 1:
            got[files[0]] = self._file(uris[files[0]])
        elif files:
            with ThreadPoolExecutor(min(FILES_AT_ONCE, len(files))) as pool:
                got.update(zip(files, pool.map(self._file, [uris[at] for at in files]), strict=True))
        if objects:
            got.update(zip(objects, self._objects([uris[at] for at in objects]), strict=True))
        # Listing refuses http, so such an address comes from a caller's own list; this version may not follow it.
        return [got.get(at, ImageFailure("blocked_address")) for at in range(len(uris))]

    def _file(self, uri: str) -> Body | ImageFailure:
        for pause in (*PAUSES, None):
            try:
                return Body(read_file(local_path(uri), self.limits.max_bytes))
            except (ImageFailure, OSError, ValueError) as error:
                failure = _failure(error)
            if pause is None or not _again(failure):
                break
            time.sleep(pause)
        return failure

    def _objects(self, uris: list[str]) -> list[Body | ImageFailure]:
        from fsspec.asyn import sync

        filesystem = self.storage.filesystem(uris[0])

        async def all_of_them() -> list[Body | ImageFailure]:
            free = asyncio.Semaphore(S3_AT_ONCE)
            return await asyncio.gather(*(self._object(filesystem, uri, free) for uri in uris))

        results: list[Body | ImageFailure] = sync(filesystem.loop, all_of_them)
        return results

    async def _object(self, filesystem: Any, uri: str, free: asyncio.Semaphore) -> Body | ImageFailure:
        async with free:
            for pause in (*PAUSES, None):
                try:
                    async with asyncio.timeout(BODY_SECONDS):
                        return await _read_object(filesystem, uri, self.limits.max_bytes)
                except Exception as error:
                    if not isinstance(error, ImageFailure) and failure_kind(error) is None:
                        raise  # a defect here, which no code of a failure may hide
                    failure = _failure(error)
                if pause is None or not _again(failure):
                    break
                await asyncio.sleep(pause)
            return failure


def read_file(path: str | bytes, most: int) -> bytes:
    """The bytes of a regular file, never more than `most`; a pipe, socket or device is not opened.

    Raises:
        ImageFailure: empty, too_large, not_an_image.
        OSError: What the operating system says.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ImageFailure("not_an_image")
    # Without blocking: what is a file now may be a pipe by the time it is opened.
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise ImageFailure("not_an_image")
        if found.st_size > most:
            raise ImageFailure("too_large")
        parts = []
        left = most + 1
        while left and (part := file.read(min(left, max(found.st_size + 1, 65_536)))):
            parts.append(part)
            left -= len(part)
    return _sound(b"".join(parts), most)


def _open_at_once(path: str | bytes, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


async def _read_object(filesystem: Any, uri: str, most: int) -> Body:
    # The client's own call, not open(): it takes any key verbatim, and one request brings size and body.
    bucket, key = split_s3(uri)
    if not key:
        raise ImageFailure("not_found")
    answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=key)
    parts: list[bytes] = []
    async with answer["Body"] as body:
        if answer.get("ContentLength", 0) > most:
            raise ImageFailure("too_large")
        left = most + 1
        while left > 0 and (part := await body.read(min(left, 2**20))):
            parts.append(part)
            left -= len(part)
    version = answer.get("VersionId")
    return Body(_sound(b"".join(parts), most), None if version == "null" else version)


def _sound(data: bytes, most: int) -> bytes:
    if not data:
        raise ImageFailure("empty")
    if len(data) > most:
        raise ImageFailure("too_large")
    return data


def _failure(error: Exception) -> ImageFailure:
    return error if isinstance(error, ImageFailure) else ImageFailure(failure_kind(error) or "network")


def _again(failure: ImageFailure) -> bool:
    """Whether a moment later may do better: not after a refusal, and a time-out has had its moments already."""
    return failure.code == "network"
