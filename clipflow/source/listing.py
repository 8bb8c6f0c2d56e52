"""One listed image, and the record batches that carry many."""

import itertools
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import pyarrow as pa

from clipflow.interval import EPOCH
from clipflow.schema import TIME
from clipflow.spec import SourceSpec
from clipflow.uri import image_id

BATCH_ROWS = 10_000


class Listed(NamedTuple):
    """One image of the source. `modified` counts microseconds since 1970 in UTC."""

    uri: str
    etag: str | None = None
    version: str | None = None
    size: int | None = None
    modified: int | None = None
    caption: str | None = None
    attributes: tuple[str | None, ...] = ()


def listing_schema(source: SourceSpec) -> pa.Schema:
    """The columns of a listing; `caption` is null where the source names none."""
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("source_uri", pa.string(), nullable=False),
            pa.field("source_etag", pa.string()),
            pa.field("source_version", pa.string()),
            pa.field("source_size", pa.int64()),
            pa.field("source_modified", TIME),
            pa.field("caption", pa.string()),
            *(pa.field(f"attr_{name}", pa.string()) for name in source.attributes),
        ]
    )


def batches(rows: Iterable[Listed], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows as record batches of at most 10,000 rows; nothing for no rows."""
    rows = iter(rows)
    while chunk := list(itertools.islice(rows, BATCH_ROWS)):
        uris, etags, versions, sizes, times, captions, attributes = zip(*chunk, strict=True)
        columns = [[image_id(uri) for uri in uris], uris, etags, versions, sizes, times, captions]
        columns.extend(zip(*attributes, strict=True))
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def microseconds(at: datetime) -> int:
    """Microseconds since 1970 of an aware moment."""
    return (at - EPOCH) // timedelta(microseconds=1)
