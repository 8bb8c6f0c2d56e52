"""SQL over a table: DuckDB sees `images` and `runs`, and nothing else of the machine."""

from typing import Any

import duckdb
import lance
import pyarrow as pa
import pyarrow.dataset as pds

from clipflow.database import closed_database
from clipflow.errors import QueryError
from clipflow.refusals import in_our_words
from clipflow.schema import RUNS
from clipflow.spec import StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.dataset import open_dataset
from clipflow.table.images import open_images
from clipflow.table.moved import current

VECTOR = "vector"


class _Readable(lance.LanceDataset):
    """A table whose vector DuckDB can read: it knows no float16."""

    @property
    def schema(self) -> pa.Schema:
        """The schema with float32 vectors."""
        return _widened(super().schema)

    def scanner(self, *args: Any, **kwargs: Any) -> pds.Scanner:
        """The rows with float32 vectors."""
        late: dict[str, Any] = {}
        if VECTOR in str(kwargs.get("filter", "")):
            # Lance takes no condition on a column of lists; Arrow does, after it was read.
            late = {key: kwargs.pop(key) for key in ("filter", "columns") if key in kwargs}
        reader = super().scanner(*args, **kwargs).to_reader()
        schema = _widened(reader.schema)
        batches = (batch.cast(schema) for batch in reader)
        return pds.Scanner.from_batches(batches, schema=schema, **late)


def _widened(schema: pa.Schema) -> pa.Schema:
    fields = []
    for field in schema:
        if pa.types.is_fixed_size_list(field.type) and field.type.value_type == pa.float16():
            field = field.with_type(pa.list_(pa.float32(), field.type.list_size))
        fields.append(field)
    return pa.schema(fields)


def readable(address: TableAddress, version: int | None = None) -> lance.LanceDataset:
    """The images as DuckDB can read them, at their latest or a given version."""
    return _Readable(address.images, version=version, storage_options=address.options)


def sql(table: str, statement: str, *, storage: StorageSpec | None = None) -> list[dict[str, Any]]:
    """The rows of one SELECT.

    Args:
        statement: May name `images` and `runs`; files, settings and other databases are out of reach.

    Raises:
        QueryError: It is not one SELECT, or DuckDB refuses it.
        TableError: There is no such table.
    """
    address = current(TableAddress.of(table, storage))
    runs = open_dataset(address, address.runs)
    # A first run that failed early leaves its row, and no images.
    images = None if runs is not None and open_dataset(address) is None else open_images(address)
    with closed_database() as db:
        if images is not None:
            db.register("images", readable(address))
        db.register("runs", runs if runs is not None else RUNS.empty_table())
        try:
            statements = db.extract_statements(statement)
            if len(statements) != 1 or statements[0].type not in (
                duckdb.StatementType.SELECT,
                duckdb.StatementType.EXPLAIN,
            ):
                raise QueryError("Only one SELECT statement is answered.", "Write `select … from images`.")
            rows: list[dict[str, Any]] = db.sql(statements[0]).to_arrow_table().to_pylist()
            return rows
        except duckdb.Error as error:
            # A table that cannot be read is no fault of the statement.
            if (ours := in_our_words(error)) is not None:
                raise ours from error
            # It goes on with every function of that name.
            sentence = " ".join(str(error).partition("Candidate functions:")[0].split()).rstrip(".")
            raise QueryError(f"DuckDB refuses the statement: {sentence}.", "Correct it.") from error
        except OverflowError as error:
            raise QueryError(f"A value has no place in an answer: {error}.", "Cast it to VARCHAR.") from error
