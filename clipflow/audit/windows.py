"""Where the rows come from: the operations on the table, and the intervals they covered."""

from datetime import datetime
from typing import Any

import duckdb

from clipflow.audit.view import Rows, View
from clipflow.schema import COUNTS, RUNS, VERDICTS
from clipflow.table.address import TableAddress
from clipflow.table.dataset import open_dataset

LAST = 20
_SHOWN = ("run_id", "verb", "state", "job", "started_at", "ended_at", "from_version", "to_version", *COUNTS, *VERDICTS)


def open_runs(db: duckdb.DuckDBPyConnection, address: TableAddress) -> None:
    """Register the runs table as `runs`; empty where there is none."""
    runs = open_dataset(address, address.runs)
    db.register("runs", RUNS.empty_table() if runs is None else runs)


def operations(view: View) -> dict[str, Any]:
    """What the document calls `runs`: how many by verb and state, and the last ones with their counts."""
    by = view.ask("SELECT verb, state, count(*) AS n FROM runs GROUP BY ALL ORDER BY ALL")
    last = view.ask(f"SELECT {', '.join(_SHOWN)} FROM runs ORDER BY started_at DESC, run_id LIMIT {LAST}")
    return {"n": sum(row["n"] for row in by), "by": by, "last": last}


def windows(view: View) -> Rows:
    """What the document calls `windows`: by job its runs, and the intervals they covered, joined where they touch.

    `unbounded` counts runs without an interval. `first_modified` and `last_modified` are of the job's rows.
    """
    rows = view.ask(
        "SELECT job, count(*) AS rows, min(source_modified) AS first_modified, max(source_modified) AS last_modified "
        "FROM {view} GROUP BY job ORDER BY job"
    )
    runs = view.ask(
        "SELECT job, interval_start AS start, interval_end AS stop FROM runs "
        "WHERE verb = 'run' AND state = 'done' ORDER BY start NULLS FIRST"
    )
    found = []
    for row in rows:
        own = [(run["start"], run["stop"]) for run in runs if run["job"] == row["job"]]
        bounded = [(start, stop) for start, stop in own if start is not None and stop is not None]
        more = {"runs": len(own), "unbounded": len(own) - len(bounded), "intervals": joined(bounded)}
        found.append({**row, **more})
    return found


def joined(intervals: list[tuple[datetime, datetime]]) -> list[list[datetime]]:
    """Half-open intervals, sorted by start, as the fewest that cover the same time."""
    whole: list[list[datetime]] = []
    for start, stop in intervals:
        if whole and start <= whole[-1][1]:
            whole[-1][1] = max(whole[-1][1], stop)
        else:
            whole.append([start, stop])
    return whole
