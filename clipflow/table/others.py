"""Other operations on a table: which are at work, which died at it, and closing those.

An operation opens its row before it reads what it goes by, so whoever changed the table first, and looked here
then, has seen every operation that may still go by what the table was before.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.schema import RUNS
from clipflow.table.address import TableAddress
from clipflow.table.dataset import open_dataset
from clipflow.table.guard import Change, guarded_commit, write_fragments
from clipflow.table.process import is_gone
from clipflow.table.runs import CLOSED, HEARTBEAT_SECONDS, RUNNING, Operation

SILENT = timedelta(seconds=5 * HEARTBEAT_SECONDS)
"""An operation without a heartbeat for so long is dead: clocks differ, and a beat may fail."""

_LONG_AGO = datetime(1, 1, 1, tzinfo=UTC)

Row = dict[str, Any]


def running(address: TableAddress, operation: Operation) -> list[Row]:
    """The rows of all other operations that have not ended: run_id, verb, started_at, heartbeat_at, process."""
    runs = open_dataset(address, address.runs)
    if runs is None:
        return []
    there = [name for name in ("run_id", "verb", "started_at", "heartbeat_at", "process") if name in runs.schema.names]
    rows: list[Row] = runs.to_table(columns=there, filter=pc.field("state") == RUNNING).to_pylist()
    return [row for row in rows if row["run_id"] != operation.run_id]


def close_dead(address: TableAddress, rows: list[Row], operation: Operation) -> set[str]:
    """Close the rows of dead operations, which then commit nothing more; gives the ids of those that live."""
    alive = set()
    for row in rows:
        if not _is_dead(row) or not _close(address, row["run_id"], operation):
            alive.add(row["run_id"])
    return alive


def _close(address: TableAddress, run_id: str, operation: Operation) -> bool:
    """Whether it no longer runs; it may have given a sign of life meanwhile."""
    closed = True

    def decide(runs: lance.LanceDataset) -> Change | None:
        nonlocal closed
        there = runs.to_table(filter=pc.field("run_id") == run_id, with_row_address=True)
        addresses = there.column("_rowaddr").to_pylist()
        rows = there.drop_columns(["_rowaddr"]).to_pylist()
        closed = not any(row["state"] == RUNNING and not _is_dead(row) for row in rows)
        if not closed or not any(row["state"] == RUNNING for row in rows):
            return None
        dead = [row | {"state": CLOSED, "ended_at": datetime.now(UTC)} for row in rows]
        fragments = write_fragments(pa.Table.from_pylist(dead, RUNS), address, address.runs, RUNS)
        return Change(fragments, addresses)

    guarded_commit(address, address.runs, decide, operation.properties)
    return closed


def _is_dead(row: Row) -> bool:
    return is_gone(row.get("process")) or datetime.now(UTC) - (row["heartbeat_at"] or _LONG_AGO) > SILENT
