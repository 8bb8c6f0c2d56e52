"""A model's folder on S3: a copy of its files in this machine's cache, made once for every state of the objects."""

import fcntl
import logging
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clipflow.errors import EncoderError, SourceError
from clipflow.faults import storage_error
from clipflow.spec import digest
from clipflow.storage import Storage
from clipflow.uri import canonical, shown, split_s3

_MOST = 1000
_BLOCK = 2**20

log = logging.getLogger("clipflow")


def fetched_folder(model: str, wanted: Sequence[str]) -> Path:
    """The local copy of a folder on S3, without its subfolders.

    Args:
        model: Its address; S3 is what the environment says.
        wanted: Patterns of the names that are copied; another call may add others.

    Raises:
        EncoderError: There is no such folder, or access is refused.
        StorageUnavailable: Storage did not answer.
    """
    try:
        uri = canonical(model).rstrip("/") + "/"
        objects = _listed(uri)
    except SourceError as error:
        raise EncoderError(error.message, error.mend) from None
    if not objects:
        raise EncoderError(f"There are no files under {shown(uri)}.", "Check encoder.model.")
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "clipflow" / "models"
    # By the state of all objects: when one of them changes, none of the copies is taken for the new model's.
    folder = root / digest([uri, sorted((name, one["ETag"], one["Size"]) for name, one in objects.items())])
    missing = {name: one for name, one in objects.items() if any(fnmatchcase(name, pattern) for pattern in wanted)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (root / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            missing = {name: one for name, one in missing.items() if not (folder / name).is_file()}
            if missing:
                size = sum(one["Size"] for one in missing.values()) / 1e6
                log.info("encoder: fetching %d files, %.0f MB, of %s to %s", len(missing), size, shown(uri), folder)
            for name, one in missing.items():
                _fetch(uri + name, one, folder / name)
    except OSError as error:
        raise storage_error(error, str(root), "write") from error
    except SourceError as error:
        raise EncoderError(error.message, error.mend) from None
    return folder


def _listed(uri: str) -> dict[str, Any]:
    """By name the objects that lie in a folder, as `ListObjectsV2` describes them."""
    bucket, prefix = split_s3(uri)
    try:
        filesystem = Storage().filesystem(uri)
        page = filesystem.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", MaxKeys=_MOST)
    except Exception as error:
        raise storage_error(error, uri, "list") from None
    if page.get("IsTruncated"):
        raise EncoderError(f"More than {_MOST} files lie in {shown(uri)}.", "Name the folder of one model.")
    found = {one["Key"].removeprefix(prefix): one for one in page.get("Contents", [])}
    # The folder itself may be an object without a name.
    return {name: one for name, one in found.items() if name}


def _fetch(uri: str, listed: dict[str, Any], target: Path) -> None:
    from fsspec.asyn import sync

    with TemporaryDirectory(dir=target.parent) as place:
        part = Path(place) / target.name
        try:
            with part.open("wb") as file:
                filesystem = Storage().filesystem(uri)
                sync(filesystem.loop, _copy, filesystem, uri, listed["ETag"], file)
        except Exception as error:
            raise storage_error(error, uri, "read") from None
        part.replace(target)


async def _copy(filesystem: Any, uri: str, etag: str, target: Any) -> None:
    bucket, key = split_s3(uri)
    answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=key, IfMatch=etag)
    async with answer["Body"] as body:
        while block := await body.read(_BLOCK):
            try:
                target.write(block)
            except OSError as error:
                raise storage_error(error, target.name, "write") from error
