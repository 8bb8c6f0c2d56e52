"""Exchanging the values of columns of an Arrow table."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa


def with_values(rows: pa.Table, name: str, values: pa.Array | Sequence[Any]) -> pa.Table:
    """The rows with other values in one column, whose place and type stay; plain values are converted to it."""
    at = rows.schema.get_field_index(name)
    field = rows.schema.field(at)
    return rows.set_column(at, field, values if isinstance(values, pa.Array) else pa.array(values, field.type))


def with_columns(rows: pa.Table, values: Mapping[str, pa.Array | Sequence[Any]]) -> pa.Table:
    """The rows with other values in these columns, see `with_values`."""
    for name, items in values.items():
        rows = with_values(rows, name, items)
    return rows
