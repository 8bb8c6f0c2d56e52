"""Objects under a prefix or a glob, in folders and in buckets."""

import os
import re
from collections.abc import Iterator
from typing import Any

from fsspec.utils import glob_translate

from clipflow.errors import SourceError
from clipflow.interval import fixed_root
from clipflow.pages import page_of, pages_of
from clipflow.source.exclude import Exclude
from clipflow.source.folder import find, require, walk
from clipflow.source.listing import Listed, Notes, microseconds
from clipflow.source.window import Window
from clipflow.spec import SourceSpec
from clipflow.storage import Storage
from clipflow.uri import canonical, scheme, shown, spellings, split_s3

_MAGIC = re.compile(r"[*?[]")


def list_objects(source: SourceSpec, window: Window, exclude: Exclude, notes: Notes) -> Iterator[Listed]:
    """Every object of a source within its window; see `clipflow.source.list_source` for what counts as one."""
    storage = Storage.of(source.storage)
    kinds = {"file": _on_disk, "s3": _in_bucket}
    kind = scheme(source.uri)
    if kind not in kinds:
        raise SourceError(
            f"{shown(source.uri)!r} cannot be listed: http has no folders.",
            "Name a manifest of its addresses with kind: manifest.",
        )
    for listed in kinds[kind](storage, window, exclude, notes):
        # A copy that keeps the times of files is new all the same.
        if window.holds(listed.modified) or (listed.changed is not None and window.holds(listed.changed)):
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


def root_of(source: SourceSpec) -> str:
    """The canonical address above all that a source of objects lists: the folders before a wildcard or a directive."""
    uri = fixed_root(source.uri) if source.window == "path" else source.uri
    return canonical(_fixed(uri) if is_glob(uri) else uri)


def _on_disk(storage: Storage, window: Window, exclude: Exclude, notes: Notes) -> Iterator[Listed]:
    if window.root:
        require(canonical(_fixed(window.root)))
    for uri in window.uris:
        # A path that is there as it is written is no glob.
        root, pattern = find(canonical(uri)), None
        if root is None and is_glob(uri):
            path = os.path.abspath(os.path.expanduser(uri.removeprefix("file://"))) + "/" * uri.endswith("/")
            _, pattern = split_glob(path)
            root = find(canonical(_fixed(path)))
        if root is None and window.root is None:
            root = require(canonical(uri if pattern is None else _fixed(uri)))
        if root is not None:
            folder = uri.endswith("/") and pattern is None
            yield from walk(root, pattern, exclude, notes, folder_only=folder)


def _fixed(path: str) -> str:
    """The folders of a glob before its first wildcard."""
    plain = split_glob(path)[0].rpartition("/")
    return plain[0] + plain[1]


def _in_bucket(storage: Storage, window: Window, exclude: Exclude, notes: Notes) -> Iterator[Listed]:
    if window.root and window.root != "s3://":
        bucket, _ = split_s3(canonical(window.root))
        page_of(storage, f"s3://{bucket}/", bucket, "", 1)
    for uri in window.uris:
        bucket, key = split_s3(canonical(uri))
        key = _spelt(storage, uri, bucket, key)
        literal = not is_glob(key) or _is_there(storage, uri, bucket, key)
        prefix, pattern = (key, None) if literal else split_glob(key)
        root = prefix.rpartition("/")[0] + "/" if "/" in prefix else ""
        if pattern is None and key and not key.endswith("/"):
            # The object itself comes first among all keys that begin with its name.
            first = page_of(storage, uri, bucket, key, 1).get("Contents", [])
            yield from (_listed(bucket, one) for one in first if one["Key"] == key)
            prefix = root = key + "/"
        for page in pages_of(storage, uri, bucket, prefix):
            for one in page:
                name = one["Key"]
                if exclude.leaves_out(name[len(root) :]) or exclude.is_own(f"s3://{bucket}/{name}"):
                    notes.excluded += 1
                elif pattern is None or pattern.match(name):
                    yield _listed(bucket, one)


def _is_there(storage: Storage, uri: str, bucket: str, key: str) -> bool:
    """Whether there is an object of this very name, or one in a folder of it."""
    first = page_of(storage, uri, bucket, key, 1).get("Contents", [])
    if key.endswith("/") or any(one["Key"] == key for one in first):
        return bool(first)
    return bool(page_of(storage, uri, bucket, f"{key}/", 1).get("Contents"))


def _spelt(storage: Storage, uri: str, bucket: str, key: str) -> str:
    """The key as the store spells it, composed or decomposed, where just one of the two is there."""
    if key.isascii() or _is_there(storage, uri, bucket, key):
        return key
    others = [split_s3(one)[1] for one in spellings(f"s3://{bucket}/{key}")[1:]]
    there = [other for other in others if _is_there(storage, uri, bucket, other)]
    return there[0] if len(there) == 1 else key


def _listed(bucket: str, one: dict[str, Any]) -> Listed:
    etag = one.get("ETag", "").strip('"') or None
    modified = microseconds(one["LastModified"])
    return Listed(f"s3://{bucket}/{one['Key']}", etag, None, one["Size"], modified, stored=modified)
