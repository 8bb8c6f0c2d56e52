"""A prefix to watch: every object under it, page by page.

The engine's own listing makes Arrow tables, which Airflow's image does not hold. This one finds at least
every object that the engine would list, and says of each only when it is another one than before.
"""

import os
import stat
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, Self

from pydantic import ValidationError

from clipflow.errors import UsageError
from clipflow.faults import storage_error
from clipflow.interval import EPOCH
from clipflow.pages import PAGE, pages_of
from clipflow.spec import StorageSpec
from clipflow.storage import Storage
from clipflow.uri import canonical, file_address, local_path, scheme, shown, split_s3


class Found(NamedTuple):
    """One object: what changes with its bytes, and when it was modified in microseconds since 1970."""

    identity: str
    modified: int


class Prefix:
    """A folder or an `s3://` prefix.

    Args:
        uri: Canonical address of the folder.
        storage: Where S3 answers.
    """

    def __init__(self, uri: str, storage: Storage) -> None:
        self.uri = uri
        self._storage = storage

    @classmethod
    def of(cls, uri: str, storage: Mapping[str, Any] | None) -> Self:
        """The prefix that a DAG names.

        Raises:
            UsageError: It is no prefix, or the settings of the storage are wrong.
        """
        kind = scheme(uri)
        if kind in ("http", "https"):
            raise UsageError(
                f"{shown(uri)!r} cannot be watched: http has no folders.", "Name a path or s3://bucket/key/."
            )
        if any(sign in uri for sign in "*?["):
            raise UsageError(
                f"{shown(uri)!r} is a glob, and only a whole prefix can be watched.",
                "Name the folder above it; the job's source.uri may be the glob.",
            )
        whole = canonical(uri)
        if kind == "s3" and not whole.endswith("/"):
            whole += "/"
        try:
            spec = StorageSpec.model_validate(storage or {})
        except ValidationError:
            raise UsageError(
                f"The storage of {shown(uri)} is not made of endpoint, region and profile.",
                "Write {'endpoint': 'https://host'}; credentials come from the environment.",
            ) from None
        if spec.endpoint and "@" in spec.endpoint:
            raise UsageError(
                f"The endpoint {shown(spec.endpoint)!r} carries a user or a password.",
                "Take it out; credentials come from the environment.",
            )
        return cls(whole, Storage.of(spec))

    def pages(self) -> Iterator[list[Found]]:
        """Every object, at most a thousand a page; blocks while storage answers.

        Raises:
            SourceError: The folder or bucket is missing, or may not be read.
            StorageUnavailable: Storage did not answer.
        """
        pages = self._in_bucket() if scheme(self.uri) == "s3" else self._on_disk()
        try:
            yield from pages
        except Exception as error:
            raise storage_error(error, self.uri, "list") from None

    def _in_bucket(self) -> Iterator[list[Found]]:
        bucket, key = split_s3(self.uri)
        for page in pages_of(self._storage, self.uri, bucket, key):
            yield [_object(one) for one in page]

    def _on_disk(self) -> Iterator[list[Found]]:
        # A link counts as itself: what it leads to counts where it lies, if that is under the prefix at all.
        top = os.fsdecode(local_path(self.uri))
        pending, page = [top], []
        while pending:
            folder = pending.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            pending.append(entry.path)
                        elif found := _file(entry):
                            page.append(found)
                        if len(page) == PAGE:
                            yield page
                            page = []
            except (FileNotFoundError, NotADirectoryError):
                if folder == top:
                    raise
        yield page


def _object(one: Mapping[str, Any]) -> Found:
    modified = (one["LastModified"] - EPOCH) // timedelta(microseconds=1)
    return Found(f"{one['Key']}\0{one.get('ETag')}\0{one['Size']}\0{modified}", modified)


def _file(entry: os.DirEntry[str]) -> Found | None:
    try:
        found = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # gone since its folder was read
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        return None
    return Found(f"{file_address(entry.path)}\0{found.st_mtime_ns}\0{found.st_size}", found.st_mtime_ns // 1000)
