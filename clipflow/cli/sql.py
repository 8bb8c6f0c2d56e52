"""`clipflow sql`: one SELECT over a table."""

import argparse
from typing import Any

from clipflow.cli.parser import Answer, add_table, add_verb


def add(verbs: Any) -> None:
    """The verb."""
    sql = add_verb(verbs, "sql", "one SELECT over `images` and `runs`", _sql, "Ask a table by SQL (DuckDB).")
    add_table(sql)
    sql.add_argument("statement", metavar="SQL", help='e.g. "select status, count(*) from images group by all"')


def _sql(call: argparse.Namespace) -> Answer:
    from tabulate import tabulate

    from clipflow.query.sql import sql

    rows = sql(call.table, call.statement)
    return rows, tabulate(rows, headers="keys") if rows else "no rows"
