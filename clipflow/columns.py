"""Exchanging the values of a column of an Arrow table."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def with_values(rows: pa.Table, name: str, values: pa.Array | Sequence[Any]) -> pa.Table:
    """The rows with other values in one column, whose place and type stay; plain values are converted to it."""
    at = rows.schema.get_field_index(name)
    field = rows.schema.field(at)
    return rows.set_column(at, field, values if isinstance(values, pa.Array) else pa.array(values, field.type))
