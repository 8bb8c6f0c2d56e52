"""One SQL expression over the columns of a row: read, checked and computed by DuckDB behind closed doors."""

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from clipflow.database import closed_database
from clipflow.errors import PolicyError

# What DuckDB's own tree calls the parts of an expression over one row.
_PARTS = frozenset(
    {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION"}
    | {"OPERATOR", "TYPE"}
)
_REFUSED = {
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
    "STAR": "a star",
    "LAMBDA": "a lambda",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by its position",
}
# Listed as functions of their arguments, and yet the clock or the version of DuckDB is in them.
_NOT_OF_THE_ROW = frozenset({"age", "current_localtime", "current_localtimestamp", "version"})
# Macros that stand for a plain expression.
_MACROS = frozenset({"fmod", "if", "list_avg", "list_max", "list_min", "list_sum", "nullif", "split_part"})
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL", "BOOLEAN", '"NULL"')
# Beside the columns, so that rows come out in order; no column of a table has such a name.
_NUMBER = "row_number_of_the_batch"


@lru_cache(maxsize=1)
def _database() -> duckdb.DuckDBPyConnection:
    """One a process: to open one takes longer than to score a batch. A cursor of it belongs to one thread."""
    return closed_database(threads=1)


@lru_cache(maxsize=256)
def columns_of(sql: str) -> frozenset[str]:
    """The columns that an expression names.

    Raises:
        PolicyError: It is not one expression, or does not follow from the columns of one row alone.
    """
    names: set[str] = set()
    for part in _walk(_tree(sql)):
        kind = part["class"]
        if kind not in _PARTS:
            raise PolicyError(
                f"sql holds {_REFUSED.get(kind, kind.lower())}.", "Write one expression over the columns of one row."
            )
        if kind == "FUNCTION":
            _check_function(part["function_name"].lower())
        if kind == "COLUMN_REF":
            if len(part["column_names"]) > 1:
                raise PolicyError(f"sql names {'.'.join(part['column_names'])}.", "Write the column's name alone.")
            names.update(part["column_names"])
    if len({name.lower() for name in names}) < len(names):
        raise PolicyError("sql names two columns that differ in capitals only.", "DuckDB cannot tell them apart.")
    return frozenset(names)


def check_types(sql: str, types: dict[str, pa.DataType]) -> None:
    """Bind an expression to columns of these types.

    Raises:
        PolicyError: It does not fit them, or gives neither a number nor a condition.
    """
    # A row without values: what fails here, such as a constant of the wrong type, fails for every row.
    blank = {name: pa.nulls(1, kind) for name, kind in types.items()}
    with _database().cursor() as database:
        database.register("rows", _numbered(blank, 1))
        try:
            found = database.sql(f"select (\n{sql}\n) as score from rows")
            kind = str(found.types[0])
            found.fetchall()
        except duckdb.Error as error:
            raise PolicyError(
                f"DuckDB refuses sql: {_sentence(str(error))}.", "Correct it; a cast that may fail is a try_cast."
            ) from error
    if not kind.removeprefix("U").startswith(_NUMBERS) or kind.endswith("]"):
        raise PolicyError(
            f"sql gives {kind}, which is neither a number nor a condition.", "Compare it, or cast it to DOUBLE."
        )


def evaluate(sql: str, columns: Mapping[str, pa.Array | pa.ChunkedArray], count: int) -> np.ndarray:
    """The expression of each of N rows, float64 [N]: 1 and 0 for a condition, NaN where it has no value.

    Where computing fails, as in a cast of a text that is no number, there is no value either.

    Args:
        columns: Those that `columns_of` gives, each of N values.
        count: N, which an expression without columns has from nowhere else.
    """
    with _database().cursor() as database:
        database.register("rows", _numbered(columns, count))
        found = database.sql(f"select cast(try(\n{sql}\n) as double) as score from rows order by rows.{_NUMBER}")
        values: np.ndarray = found.to_arrow_table().column("score").to_numpy()
    return values


def _numbered(columns: Mapping[str, pa.Array | pa.ChunkedArray], count: int) -> pa.Table:
    return pa.table({**columns, _NUMBER: pa.array(np.arange(count))})


def _tree(sql: str) -> Any:
    """The expression as DuckDB's parser sees it."""
    with _database().cursor() as database:
        (text,) = database.execute("select json_serialize_sql(?)", [f"select (\n{sql}\n) as score"]).fetchone() or ("",)
    try:
        tree = json.loads(text)
    except RecursionError as error:
        raise PolicyError("sql nests too deeply.", "Write it shorter.") from error
    if tree["error"]:
        raise PolicyError(f"sql is no expression: {_sentence(tree['error_message'])}.", "Correct it.")
    statements = tree["statements"]
    node = statements[0]["node"]
    clauses = ("where_clause", "group_expressions", "having", "sample", "qualify", "modifiers")
    if (
        len(statements) != 1
        or node["type"] != "SELECT_NODE"
        or len(node["select_list"]) != 1
        or node["from_table"]["type"] != "EMPTY"
        or any(node[clause] for clause in clauses)
    ):
        raise PolicyError("sql is not one expression.", "Write what could stand between `select` and `from`.")
    return node["select_list"]


def _walk(tree: Any) -> Iterator[dict[str, Any]]:
    left = [tree]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            if "class" in part:
                yield part
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)


def _check_function(name: str) -> None:
    known = _functions()
    if name not in known:
        near = get_close_matches(name, [other for other, sound in known.items() if sound], n=1)
        raise PolicyError(
            f"sql calls {name}, which is no function.", f"Did you mean {near[0]!r}?" if near else "Leave it out."
        )
    if not known[name]:
        raise PolicyError(
            f"sql calls {name}, which does not follow from the columns of one row.",
            "Leave it out: aggregates, the clock, chance and settings have no place in a score.",
        )


@lru_cache(maxsize=1)
def _functions() -> dict[str, bool]:
    """By name, whether a function follows from its arguments alone."""
    with _database().cursor() as database:
        found = database.execute(
            "select lower(function_name), bool_and(function_type = 'scalar' and stability = 'CONSISTENT') "
            "from duckdb_functions() where function_type not in ('table', 'table_macro', 'pragma') group by all"
        ).fetchall()
    plain = {name: sound and not name.startswith("__") and name not in _NOT_OF_THE_ROW for name, sound in found}
    return plain | dict.fromkeys(_MACROS & plain.keys(), True)


def _sentence(message: str) -> str:
    """What DuckDB says, without the picture of the place and the list of every function that it could have been."""
    said = message.partition("\n\n")[0].partition("LINE ")[0].partition("Candidate functions:")[0]
    return " ".join(said.split()).rstrip(".?!")
