"""The listing, written to a file line by line."""

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipflow.uri import former, image_id


def spool(listing: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    """Write batches of `schema`, the number of each line and its former id; gives how many lines there are."""
    lines = 0
    more = [pa.field("former_id", pa.string()), pa.field("line", pa.int64())]
    with pq.ParquetWriter(path, pa.schema([*schema, *more])) as writer:
        for batch in listing:
            numbers = pa.array(range(lines, lines + batch.num_rows), pa.int64())
            columns = [*batch.columns, _former_ids(batch.column("source_uri")), numbers]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=writer.schema))
            lines += batch.num_rows
    return lines


def _former_ids(uris: pa.Array) -> pa.Array:
    if not pc.any(pc.starts_with(uris, "file:////")).as_py():
        return pa.nulls(len(uris), pa.string())
    return pa.array([image_id(old) if (old := former(uri)) else None for uri in uris.to_pylist()], pa.string())
