"""Rows on their way between two stages: plain dicts while they are made, Arrow when they travel."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

Row = dict[str, Any]


def in_flight(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Plain rows as Arrow; `vector` may be a numpy vector or absent."""
    vector = schema.field("vector").type
    matrix = np.zeros((len(rows), vector.list_size), vector.value_type.to_pandas_dtype())
    absent = np.ones(len(rows), bool)
    for at, row in enumerate(rows):
        if (there := row.pop("vector", None)) is not None:
            matrix[at], absent[at] = there, False
    table = pa.Table.from_pylist(list(rows), schema.remove(schema.get_field_index("vector")))
    return table.append_column(schema.field("vector"), vector_array(matrix, absent, vector)).select(schema.names)


def vector_array(matrix: np.ndarray, absent: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Vectors [N, dim] as a column of type `kind`, null where bool [N] `absent` says so."""
    values = pa.array(np.where(absent[:, None], 0, matrix).ravel().astype(matrix.dtype), kind.value_type)
    return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=pa.array(absent))
