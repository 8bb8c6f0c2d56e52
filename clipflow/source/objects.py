"""Objects under a prefix or a glob, in folders and in buckets."""

import os
from collections.abc import Iterator
from typing import Any

from clipflow.errors import SourceError
from clipflow.interval import fixed_root
from clipflow.pages import page_of, pages_of
from clipflow.source.exclude import Exclude
from clipflow.source.folder import find, require, walk
from clipflow.source.globs import compiled, is_glob, plain_start, split_glob
from clipflow.source.listing import Listed, Notes, microseconds
from clipflow.source.window import Window
from clipflow.spec import SourceSpec
from clipflow.storage import Storage
from clipflow.uri import canonical, local_path, scheme, shown, spellings, split_s3


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


def root_of(source: SourceSpec) -> str:
    """The canonical address above all that a source of objects lists: the folders before a wildcard or a directive."""
    uri = fixed_root(source.uri) if source.window == "path" else source.uri
    return canonical(_fixed(uri) if is_glob(uri) else uri)


def _on_disk(storage: Storage, window: Window, exclude: Exclude, notes: Notes) -> Iterator[Listed]:
    if window.root:
        require(canonical(_fixed(window.root)))
    for uri in window.uris:
        # A path that is there as it is written is no glob.
        root, pattern = _there(uri), window.below
        if root is None and is_glob(uri):
            path = os.path.abspath(os.path.expanduser(os.fsdecode(local_path(uri))))
            folder, rest = split_glob(path + "/" * uri.endswith("/"))
            root, pattern = _there(folder), compiled(rest)
        if root is None and window.root is None:
            root = require(canonical(uri if pattern is None or pattern is window.below else _fixed(uri)), uri)
        if root is not None:
            notes.roots.append(f"{os.fsdecode(local_path(root)).rstrip('/')}/")
            yield from walk(root, pattern, exclude, notes)


def _there(uri: str) -> str | None:
    """The address of a file or folder as the disk spells it; of a folder, where the uri ends in a slash."""
    found = find(canonical(uri))
    if found is None:
        return None
    path = local_path(found)
    return found if (os.path.isdir(path) if uri.endswith("/") else os.path.exists(path)) else None


def _fixed(path: str) -> str:
    """The folders of a glob before its first wildcard."""
    return split_glob(path)[0]


def _in_bucket(storage: Storage, window: Window, exclude: Exclude, notes: Notes) -> Iterator[Listed]:
    if window.root and window.root != "s3://":
        bucket, _ = split_s3(canonical(window.root))
        page_of(storage, f"s3://{bucket}/", bucket, "", 1)
    for uri in window.uris:
        bucket, key = split_s3(canonical(uri))
        key = _spelt(storage, uri, bucket, key)
        prefix, pattern = key, window.below
        root = f"{key.rpartition('/')[0]}/" if "/" in key else ""
        if is_glob(key) and not _is_there(storage, uri, bucket, key):
            folder, rest = split_glob(key)
            root, pattern = _spelt(storage, uri, bucket, folder), compiled(rest)
            prefix = root + plain_start(rest)
        if pattern is None and key and not key.endswith("/"):
            # The object itself comes first among all keys that begin with its name.
            first = page_of(storage, uri, bucket, key, 1).get("Contents", [])
            yield from (_listed(bucket, one) for one in first if one["Key"] == key)
            prefix = root = key + "/"
        notes.roots.append(f"s3://{bucket}/{root}")
        for page in pages_of(storage, uri, bucket, prefix):
            for one in page:
                below = one["Key"][len(root) :]
                if exclude.leaves_out(below) or exclude.is_own(f"s3://{bucket}/{one['Key']}"):
                    notes.excluded += 1
                elif pattern is None or pattern.match(below):
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
