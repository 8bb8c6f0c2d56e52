"""`--fail-if`: one true-or-false expression over the figures of an audit."""

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from clipflow.audit.report import STATUSES
from clipflow.audit.view import Rows
from clipflow.database import closed_database
from clipflow.errors import QueryError

FIGURES = {
    **dict.fromkeys(("rows", "accepted", "review", "rejected", "failed"), pa.int64()),
    **dict.fromkeys(("accepted_share", "review_share", "rejected_share", "failed_share"), pa.float64()),
    "not_shown": pa.int64(),
    "not_shown_share": pa.float64(),
    **dict.fromkeys(("flagged_groups", "suppressed_groups", "reviewed"), pa.int64()),
    **dict.fromkeys(("false_reject_share", "false_accept_share"), pa.float64()),
    "moved": pa.int64(),
    "moved_share": pa.float64(),
}
"""Single figures, by the names that an expression uses."""

GROUPS = {
    **dict.fromkeys(("column", "value", "rule"), pa.string()),
    **dict.fromkeys(("n", "removed", "review", "not_shown"), pa.int64()),
    **dict.fromkeys(("rate", "low", "high", "ratio", "difference"), pa.float64()),
    **dict.fromkeys((f"not_shown_{name}" for name in ("rate", "low", "high", "ratio", "difference")), pa.float64()),
    "flagged": pa.bool_(),
    "not_shown_flagged": pa.bool_(),
}
RULES = {
    **dict.fromkeys(("rule", "score"), pa.string()),
    **dict.fromkeys(("n", "scored", "reject", "review"), pa.int64()),
    **dict.fromkeys(("reject_rate", "review_rate", "low", "high"), pa.float64()),
    **dict.fromkeys(("min", "max", "mean", "deviation"), pa.float64()),
}


def holds(expression: str, document: Mapping[str, Any]) -> bool | None:
    """Whether an expression holds for an audit; None when it is null, such as the greatest ratio of no groups.

    DuckDB evaluates it over the one row of `figures`; where it names columns of `groups` they stand inside aggregates
    (`max(ratio) > 1.5 OR rejected_share > 0.2`); else it is asked of every group, and holds when it holds for one
    (`rule = '*' AND ratio > 1.5`). Subqueries see the tables `figures`, `groups` and `rules`.
    Without `by` there is no `groups`: an expression that needs them is refused, not passed.

    Args:
        document: See `audit.report.AuditReport.document`.

    Raises:
        QueryError: It cannot be evaluated, or is neither true nor false.
    """
    with closed_database() as db:
        db.register("figures", _table([figures(document)], FIGURES))
        db.register("rules", _table(document["rules"], RULES))
        tries = [("{}", "FROM figures")]
        if document["by"]:
            db.register("groups", _table(_groups(document), GROUPS))
            joined, names = "FROM figures LEFT JOIN groups ON true", ", ".join(f"figures.{name}" for name in FIGURES)
            tries += [("{}", f"{joined} GROUP BY {names}"), ("bool_or({})", joined)]
        said = ""
        for around, source in tries:
            try:
                return _truth(db, expression, around, source)
            except duckdb.BinderException as error:
                said = said or str(error)
            except duckdb.Error as error:
                said = str(error)
                break
    mend = "Correct it." if document["by"] else "Correct it; columns of groups need --by."
    sentence = said.strip().splitlines()[0].rstrip(".!")
    raise QueryError(f"DuckDB refuses --fail-if: {sentence}.", mend)


def figures(document: Mapping[str, Any]) -> dict[str, Any]:
    """The single figures of an audit, see `FIGURES`."""
    rows, people = document["rows"], document["people"]
    shares = {f"{status}_share": document[status] / rows if rows else None for status in STATUSES}
    moves = document["against"]["moved"] if document["against"] else None
    moved = None if moves is None else sum(move["n"] for move in moves if move["from"] != move["to"])
    total = sum(move["n"] for move in moves or ())
    return {
        "rows": rows,
        **{status: document[status] for status in STATUSES},
        **shares,
        "not_shown": document["review"] + document["rejected"],
        "not_shown_share": (document["review"] + document["rejected"]) / rows if rows else None,
        "flagged_groups": len({(g["column"], str(g["value"])) for g in document["groups"] if g["flagged"]}),
        "suppressed_groups": sum(one["suppressed_groups"] for one in document["suppressed"]),
        "reviewed": people["reviewed"],
        "false_reject_share": people["false_rejects"]["rate"],
        "false_accept_share": people["false_accepts"]["rate"],
        "moved": moved,
        "moved_share": moved / total if moved is not None and total else None,
    }


def _groups(document: Mapping[str, Any]) -> Rows:
    compared = document["against"]["groups"] if document["against"] else ()
    names = ("difference", "not_shown_difference")
    differences = {_key(group): {name: group[name] for name in names} for group in compared}
    return [
        {**group, "value": _text(group["value"]), **differences.get(_key(group), {})} for group in document["groups"]
    ]


def _key(group: Mapping[str, Any]) -> tuple[Any, ...]:
    return group["column"], group["value"], group["rule"]


def _truth(db: duckdb.DuckDBPyConnection, expression: str, around: str, source: str) -> bool | None:
    # A comment at the end of the expression must not take the bracket with it.
    statements = db.extract_statements(f"SELECT {around.format(f'({expression}{chr(10)})')} AS holds {source}")
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise QueryError("--fail-if takes one expression.", "Write it like `max(ratio) > 1.5`.")
    answer = db.sql(statements[0])
    if [str(kind) for kind in answer.types] != ["BOOLEAN"]:
        raise QueryError(
            f"--fail-if {expression!r} is {answer.types[0]}, neither true nor false.", "Compare it with something."
        )
    rows = answer.fetchall()
    return None if not rows or rows[0][0] is None else bool(rows[0][0])


def _table(rows: Rows, columns: Mapping[str, pa.DataType]) -> pa.Table:
    schema = pa.schema(list(columns.items()))
    return pa.Table.from_pylist([{name: row.get(name) for name in columns} for row in rows], schema)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
