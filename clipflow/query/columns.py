"""Columns of a table as people name them: by their name, or an attribute without its `attr_`."""

import difflib
from collections.abc import Sequence

import pyarrow as pa

from clipflow.errors import QueryError


def find_column(name: str, schema: pa.Schema) -> str | None:
    """The stored column that a name means; None where there is none."""
    return next((one for one in (name, f"attr_{name}") if one in schema.names), None)


def nearest_column(name: str, columns: Sequence[str]) -> str:
    """A mend: the column that was meant, else which there are, attributes without their `attr_`."""
    names = [column.removeprefix("attr_") for column in columns]
    near = difflib.get_close_matches(name.removeprefix("attr_"), names, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(names)}."


def stored_columns(names: Sequence[str], schema: pa.Schema) -> dict[str, str]:
    """By each name the stored column that it means.

    Raises:
        QueryError: There is no such column; it names the nearest.
    """
    found = {}
    for name in names:
        column = find_column(name, schema)
        if column is None:
            raise QueryError(f"The table has no column {name!r}.", nearest_column(name, schema.names))
        found[name] = column
    return found
