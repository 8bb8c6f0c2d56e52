"""The rows of a table as views of a database that reads them as a stream."""

from collections.abc import Sequence

import duckdb
import lance
import pyarrow as pa

from clipflow.schema import COLUMNS, SOURCE_STATE

_KNOWN = ["image_id", *SOURCE_STATE, "caption", "status", "reasons", "attempts", "failed_under", "run_id"]


def register_known(db: duckdb.DuckDBPyConnection, table: lance.LanceDataset | None, more: Sequence[str] = ()) -> None:
    """The key columns, and more, of all rows as `known`."""
    register(db, "known", table, [*_KNOWN, *more], with_row_id=True)


def register(
    db: duckdb.DuckDBPyConnection,
    name: str,
    table: lance.LanceDataset | None,
    columns: list[str],
    *,
    with_row_id: bool = False,
) -> None:
    """Some columns of all rows as a view, read once and as a stream; those that the table lacks are null."""
    types = {column.name: column.type for column in COLUMNS}
    fields = [(column, types.get(column, pa.string())) for column in columns]
    if table is None:
        db.register(name, pa.schema([*fields, ("_rowid", pa.uint64())]).empty_table())
        return
    there = [column for column in columns if column in table.schema.names]
    db.register("stored", table.scanner(columns=there, with_row_id=with_row_id).to_reader())
    kept = [
        f'"{column}"' if column in there else f'NULL::{"FLOAT" if kind == pa.float32() else "VARCHAR"} AS "{column}"'
        for column, kind in fields
    ]
    db.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {', '.join(kept)}{', _rowid' * with_row_id} FROM stored")
