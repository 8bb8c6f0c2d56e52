"""Files that a user names, by a path or on S3, read and written whole: jobs, policies, heads, labels' lists, pages.

What the environment says of S3 holds for them, as it does where a job names no storage of its own.
"""

import mimetypes
import os
from pathlib import Path
from typing import Any

from clipflow.errors import SourceError, UsageError
from clipflow.faults import storage_error
from clipflow.small_file import read_small
from clipflow.storage import Storage
from clipflow.uri import canonical, join, local_path, scheme, shown, split_s3


def read_file(name: str, what: str, wrong: type[UsageError] = UsageError) -> bytes:
    """The bytes of a file.

    Args:
        name: A path or an `s3://` address.
        what: What errors call it, such as "job file".
        wrong: The class of those errors.

    Raises:
        UsageError: Of the class `wrong`: it is not there, or may not be read.
        StorageUnavailable: Storage did not answer.
    """
    if (uri := _on_s3(name, what, wrong)) is not None:
        try:
            return get_object(Storage(), uri)
        except SourceError as error:
            raise wrong(error.message, error.mend) from None
    try:
        return read_small(_path(name))
    except FileNotFoundError:
        raise wrong(f"There is no {what} {shown(name)}.", "Check the path.") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise wrong(f"The {what} {shown(name)} cannot be read ({why}).", "Check the path.") from None


def write_file(name: str, data: bytes, what: str, wrong: type[UsageError] = UsageError) -> None:
    """Write a file, or replace it; see `read_file` for the arguments.

    Raises:
        UsageError: Of the class `wrong`: it cannot be written there.
        StorageUnavailable: Storage did not answer.
    """
    if (uri := _on_s3(name, what, wrong)) is not None:
        try:
            _put_object(uri, data)
        except SourceError as error:
            raise wrong(error.message, error.mend) from None
        return
    try:
        Path(os.fsdecode(_path(name))).write_bytes(data)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        mend = "Name a file in a folder that is there and that this user may write."
        raise wrong(f"The {what} {shown(name)} cannot be written ({why}).", mend) from None


def beside(file: str, name: str) -> str:
    """What a file means by a name in it: relative to its own folder, on its own storage.

    Args:
        file: The file's own name; empty for what has no folder, which then is the working directory.

    Raises:
        SourceError: The name is no address, or leads out of a bucket.
    """
    if "://" not in file and "://" not in name:
        return os.path.join(os.path.dirname(file), os.path.expanduser(name))
    return join(canonical(file or "./-").rpartition("/")[0], name)


def get_object(storage: Storage, uri: str) -> bytes:
    """The bytes of an object.

    Raises:
        SourceError: It is not there, or access is refused.
        StorageUnavailable: Storage did not answer.
    """
    from fsspec.asyn import sync

    try:
        filesystem = storage.filesystem(uri)
        data: bytes = sync(filesystem.loop, _body, filesystem, uri)
    except Exception as error:
        raise storage_error(error, uri, "read") from None
    return data


async def _body(filesystem: Any, uri: str) -> bytes:
    # The client's own call, not open(): it takes any key verbatim.
    bucket, key = split_s3(uri)
    answer = await filesystem._call_s3("get_object", Bucket=bucket, Key=key)
    async with answer["Body"] as body:
        data: bytes = await body.read()
    return data


def _put_object(uri: str, data: bytes) -> None:
    bucket, key = split_s3(uri)
    kind = mimetypes.guess_type(key)[0]
    # A browser that opens the page from the store must be told what it is.
    further = {"ContentType": f"{kind}; charset=utf-8"} if kind and kind.startswith("text/") else {}
    try:
        Storage().filesystem(uri).call_s3("put_object", Bucket=bucket, Key=key, Body=data, **further)
    except Exception as error:
        raise storage_error(error, uri, "write") from None


def _on_s3(name: str, what: str, wrong: type[UsageError]) -> str | None:
    """The canonical address of a name on S3; None for a path."""
    if "://" not in name:
        return None
    try:
        kind, uri = scheme(name), canonical(name)
    except SourceError as error:
        raise wrong(error.message, error.mend) from None
    if kind == "file":
        return None
    if kind != "s3" or not split_s3(uri)[1]:
        raise wrong(f"The {what} {shown(name)} is no file.", "Name a path, or s3://bucket/key.")
    return uri


def _path(name: str) -> str | bytes:
    return local_path(canonical(name)) if "://" in name else os.path.expanduser(name)
