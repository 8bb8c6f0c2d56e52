"""Waiting for operations that began before a deletion: they may hold what it removes."""

import logging
import time

from clipflow.table.address import TableAddress
from clipflow.table.others import Row, close_dead, running
from clipflow.table.runs import Operation

log = logging.getLogger("clipflow")

_POLL_SECONDS = 0.2


def wait_for_others(address: TableAddress, operation: Operation, seconds: float) -> list[str]:
    """Wait until operations that may not have seen the deletion have ended; those that died are closed.

    Call it after the deletion's commit. Of two deletions the one that began later waits.

    Returns:
        The run ids of those that are still at work.
    """
    mine = operation.began, operation.run_id
    waited = [row["run_id"] for row in running(address, operation) if not _begins_later(row, mine)]
    deadline = time.monotonic() + seconds
    said = False
    while True:
        rows = [row for row in running(address, operation) if row["run_id"] in waited]
        alive = sorted(close_dead(address, rows, operation))
        left = deadline - time.monotonic()
        if not alive or left <= 0:
            return alive
        if not said:
            log.info("forget: waiting up to %.0f s for %s", left, ", ".join(alive))
            said = True
        time.sleep(min(_POLL_SECONDS, left))


def _begins_later(row: Row, mine: tuple[object, str]) -> bool:
    """Another deletion that began later waits for this one, so this one must not wait for it."""
    later: bool = row["verb"] == "forget" and (row["started_at"], row["run_id"]) > mine
    return later
