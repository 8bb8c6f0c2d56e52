"""One listed image, and the record batches that carry many."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

import pyarrow as pa

from clipflow.interval import EPOCH
from clipflow.schema import TIME
from clipflow.spec import SourceSpec
from clipflow.uri import image_id

BATCH_ROWS = 10_000
# In the order of `listing_schema`.
_FIELDS = ("uri", "etag", "version", "size", "modified", "stored", "source_id", "absent", "caption")


class Listed(NamedTuple):
    """One image of the source; times count microseconds since 1970 in UTC.

    Attributes:
        modified: When the object was last modified, by the store or by the manifest.
        stored: The same by the store alone, where it keeps a time that nobody else chooses: S3 does, a disk does not.
        changed: When a file's name, rights or place last changed: a copy that keeps times shows here.
        source_id: Whose row it is; None is the source that is listed.
        absent: Whether storage said for certain that nothing is there.
    """

    uri: str
    etag: str | None = None
    version: str | None = None
    size: int | None = None
    modified: int | None = None
    caption: str | None = None
    attributes: tuple[str | None, ...] = ()
    stored: int | None = None
    changed: int | None = None
    source_id: str | None = None
    absent: bool = False


@dataclass
class Notes:
    """What a listing says beside its images.

    Attributes:
        excluded: Names that `source.exclude` left out, and folders that may not be read.
        unreadable: Addresses of those folders, each with a slash at its end.
        roots: What names were left out below, as paths and s3:// addresses, each with a slash at its end.
    """

    excluded: int = 0
    unreadable: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)


def listing_schema(source: SourceSpec) -> pa.Schema:
    """The columns of a listing.

    `first_seen_at` is the store's own time, null where it keeps none; `source_id` is null, which is this source;
    `is_absent` says that a manifest names what is not there; `caption` is null where the source names none.
    """
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source_uri", pa.string(), nullable=False),
            pa.field("source_etag", pa.string()),
            pa.field("source_version", pa.string()),
            pa.field("source_size", pa.int64()),
            pa.field("source_modified", TIME),
            pa.field("first_seen_at", TIME),
            pa.field("source_id", pa.string()),
            pa.field("is_absent", pa.bool_()),
            pa.field("caption", pa.string()),
            *(pa.field(f"attr_{name}", pa.string()) for name in source.attributes),
        ]
    )


def batches(rows: Iterable[Listed], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows as record batches of at most 10,000 rows; nothing for no rows."""
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, BATCH_ROWS)):
        columns: list[Sequence[object]] = [[image_id(one.uri) for one in chunk]]
        columns += [[getattr(one, name) for one in chunk] for name in _FIELDS]
        columns += [[one.attributes[at] for one in chunk] for at in range(len(chunk[0].attributes))]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970 of an aware moment."""
    return (at - EPOCH) // timedelta(microseconds=1)
