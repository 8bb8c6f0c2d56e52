"""The listing, written to a file line by line."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipflow.uri import former, image_id, local_path, spellings


class Spelt(NamedTuple):
    """Another address that may be meant by a line whose object storage could not be asked for."""

    line: int
    source_uri: str


def spool(listing: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> tuple[int, list[Spelt]]:
    """Write batches of `schema`, the number of each line and its former id.

    Returns:
        How many lines there are, and the other spellings of those that storage said nothing of.
    """
    lines = 0
    spelt: list[Spelt] = []
    more = [pa.field("former_id", pa.string()), pa.field("line", pa.int64())]
    with pq.ParquetWriter(path, pa.schema([*schema, *more])) as writer:
        for batch in listing:
            numbers = pa.array(range(lines, lines + batch.num_rows), pa.int64())
            columns = [*batch.columns, _former_ids(batch.column("source_uri")), numbers]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=writer.schema))
            spelt.extend(_others(batch, lines))
            lines += batch.num_rows
    return lines, spelt


def _others(batch: pa.RecordBatch, first: int) -> Iterator[Spelt]:
    unasked = pc.and_(batch.column("source_etag").is_null(), batch.column("source_size").is_null())
    for at in pc.indices_nonzero(unasked).to_pylist():
        uri = batch.column("source_uri")[at].as_py()
        if uri.startswith(("file:", "s3:")) and ("%" in uri or not uri.isascii()):
            yield from (Spelt(first + at, other) for other in spellings(uri)[1:])


def _former_ids(uris: pa.Array) -> pa.Array:
    if not pc.any(pc.starts_with(uris, "file:////")).as_py():
        return pa.nulls(len(uris), pa.string())
    return pa.array([_former_id(uri) for uri in uris.to_pylist()], pa.string())


def _former_id(uri: str) -> str | None:
    old = former(uri)
    # What has that name now is another file, whose address it is.
    return image_id(old) if old and not os.path.lexists(local_path(old)) else None
