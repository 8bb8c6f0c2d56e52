"""Parquet: a batch of rows at a time, so few that long cells fit into memory."""

from collections.abc import Iterator

import pyarrow as pa
from pyarrow import parquet

from clipflow.errors import SourceError
from clipflow.source.rows.arrow import UnfitCell, cells
from clipflow.source.rows.cells import Check, Opened, Row, refuse_twice
from clipflow.uri import shown

_READ_ROWS = 4096
_READ_BYTES = 64_000_000


def read_parquet(opened: Opened, uri: str, check: Check) -> Iterator[Row]:
    """The rows of a parquet file.

    Raises:
        SourceError: A cell holds what its column may not, or the file has other rows than it says.
    """
    with opened() as file:
        table = parquet.ParquetFile(file, page_checksum_verification=True)
        wanted = check(table.schema_arrow.names, uri)
        refuse_twice(table.schema_arrow.names, wanted, uri)
        at = 0
        for batch in _batches(table, list(wanted)):
            columns = []
            for name, kind in wanted.items():
                try:
                    columns.append(cells(batch.column(name), kind))
                except UnfitCell as wrong:
                    raise wrong.what.error(f"Row {at + wrong.at + 1}", name, uri) from None
            for values in zip(*columns, strict=True):
                at += 1
                yield Row(f"Row {at}", dict(zip(wanted, values, strict=True)))
        if at != table.metadata.num_rows:
            raise SourceError(
                f"{shown(uri)} holds {at:,} rows and says that it has {table.metadata.num_rows:,}.", "Write it anew."
            )


def _batches(table: parquet.ParquetFile, names: list[str]) -> Iterator[pa.RecordBatch]:
    for at in range(table.num_row_groups):
        # The sizes of single columns would be nearer, but asking an encrypted column for its own ends the process.
        group = table.metadata.row_group(at)
        rows = min(_READ_ROWS, max(1, _READ_BYTES * group.num_rows // max(1, group.total_byte_size)))
        yield from table.iter_batches(rows, row_groups=[at], columns=names)
