"""Objects under a prefix or a glob, in folders and in buckets."""

import re
from collections.abc import Iterator
from typing import Any

from fsspec.utils import glob_translate

from clipflow.errors import SourceError
from clipflow.faults import storage_error
from clipflow.source.folder import exists, require, walk
from clipflow.source.listing import Listed, microseconds
from clipflow.source.window import Window
from clipflow.spec import SourceSpec
from clipflow.storage import Storage
from clipflow.uri import canonical, scheme, shown, split_s3

_MAGIC = re.compile(r"[*?[]")


def list_objects(source: SourceSpec, window: Window) -> Iterator[Listed]:
    """Every object of a source within its window; see `clipflow.source.list_source` for what counts as one."""
    storage = Storage.of(source.storage)
    kinds = {"file": _on_disk, "s3": _in_bucket}
    kind = scheme(source.uri)
    if kind not in kinds:
        raise SourceError(
            f"{shown(source.uri)!r} cannot be listed: http has no folders.",
            "Name a manifest of its addresses with kind: manifest.",
        )
    for listed in kinds[kind](storage, window):
        if window.holds(listed.modified):
            yield listed


def is_glob(uri: str) -> bool:
    """Whether an address holds a wildcard."""
    return _MAGIC.search(uri) is not None


def split_glob(path: str) -> tuple[str, re.Pattern[str] | None]:
    """The plain text before the first wildcard, and the pattern a whole path must match; None for no glob."""
    found = _MAGIC.search(path)
    if not found:
        return path, None
    try:
        pattern = glob_translate(path + "**" if path.endswith("/") else path)
    except ValueError:
        raise SourceError(f"{path!r} joins ** with other characters.", "Write ** as a folder of its own.") from None
    return path[: found.start()], re.compile(pattern)


def _on_disk(storage: Storage, window: Window) -> Iterator[Listed]:
    if window.root:
        require(_path(split_glob(window.root)[0].rpartition("/")[0] + "/"))
    for uri in window.uris:
        path = _path(uri)
        plain, pattern = (path, None) if exists(path) else split_glob(path)
        root = plain if pattern is None else plain.rpartition("/")[0] or "/"
        if exists(root):
            folder = uri.endswith("/") and pattern is None
            yield from walk(root, pattern, folder_only=folder)
        elif window.root is None:
            require(root)


def _path(uri: str) -> str:
    """The absolute path, its slash at the end kept: `canonical` drops it, and a glob is told apart by it."""
    path = canonical(uri).removeprefix("file://")
    return path + "/" if uri.endswith("/") and is_glob(path) else path


def _in_bucket(storage: Storage, window: Window) -> Iterator[Listed]:
    if window.root and window.root != "s3://":
        bucket, _ = split_s3(canonical(window.root))
        _page(storage, f"s3://{bucket}/", bucket, "", 1)
    for uri in window.uris:
        bucket, key = split_s3(canonical(uri))
        prefix, pattern = split_glob(key)
        if pattern is None and key and not key.endswith("/"):
            # The object itself comes first among all keys that begin with its name.
            first = _page(storage, uri, bucket, key, 1).get("Contents", [])
            yield from (_listed(bucket, one) for one in first if one["Key"] == key)
            prefix = key + "/"
        token: str | None = None
        while True:
            page = _page(storage, uri, bucket, prefix, 1000, token)
            for one in page.get("Contents", []):
                if not one["Key"].endswith("/") and (pattern is None or pattern.match(one["Key"])):
                    yield _listed(bucket, one)
            token = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or not token:
                break


def _page(storage: Storage, uri: str, bucket: str, prefix: str, most: int, token: str | None = None) -> dict[str, Any]:
    try:
        further = {"ContinuationToken": token} if token else {}
        answer: dict[str, Any] = storage.filesystem(uri).call_s3(
            "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=most, **further
        )
    except Exception as error:
        raise storage_error(error, uri, "list") from error
    return answer


def _listed(bucket: str, one: dict[str, Any]) -> Listed:
    etag = one.get("ETag", "").strip('"') or None
    return Listed(f"s3://{bucket}/{one['Key']}", etag, None, one["Size"], microseconds(one["LastModified"]))
