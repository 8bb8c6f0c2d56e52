"""Pages: the answers of a store to one listing, from the first to the last, and what may not be among them.

A store that says there is more and does not say how to get it, or gives the same again, would let a listing end early
or never: whoever trusts it withdraws good rows, or fills a disk.
"""

from collections.abc import Iterator
from typing import Any

from clipflow.errors import StorageUnavailable
from clipflow.faults import storage_error
from clipflow.storage import Storage
from clipflow.uri import shown

PAGE = 1000


def page_of(
    storage: Storage, uri: str, bucket: str, prefix: str, most: int, token: str | None = None
) -> dict[str, Any]:
    """One page of a bucket's objects, as `ListObjectsV2` answers.

    Raises:
        SourceError: The bucket is missing, or access is refused.
        StorageUnavailable: Storage did not answer.
    """
    further = {"ContinuationToken": token} if token else {}
    try:
        filesystem = storage.filesystem(uri)
        answer: dict[str, Any] = filesystem.call_s3(
            "list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=most, **further
        )
    except Exception as error:
        raise storage_error(error, uri, "list") from error
    return answer


def pages_of(storage: Storage, uri: str, bucket: str, prefix: str) -> Iterator[list[dict[str, Any]]]:
    """The objects under a prefix, a page at a time; folders' own keys, which end in a slash, are none.

    Raises:
        SourceError: The bucket is missing, or access is refused.
        StorageUnavailable: Storage did not answer, or its pages do not lead to an end.
    """
    token: str | None = None
    # Of each page that had a follower; a hash is all that is kept of a thousand keys.
    seen: set[int] = set()
    tokens: set[str] = set()
    while True:
        page = page_of(storage, uri, bucket, prefix, PAGE, token)
        objects = page.get("Contents", [])
        more = bool(page.get("IsTruncated"))
        token = page.get("NextContinuationToken")
        if more:
            keys = hash(tuple(one["Key"] for one in objects))
            if not token:
                raise _endless(uri, "says that there is more and not where")
            if token in tokens:
                raise _endless(uri, "names a page twice")
            if not objects:
                raise _endless(uri, "gives an empty page and says that there is more")
            if keys in seen:
                raise _endless(uri, "gives the same page twice")
            tokens.add(token)
            seen.add(keys)
        yield [one for one in objects if not one["Key"].endswith("/")]
        if not more:
            return


def _endless(uri: str, does: str) -> StorageUnavailable:
    return StorageUnavailable(
        f"The listing of {shown(uri)} cannot be trusted: its store {does}.",
        "Run it again; if that stays, the store's ListObjectsV2 is broken: ask who runs it. Nothing was withdrawn.",
    )
