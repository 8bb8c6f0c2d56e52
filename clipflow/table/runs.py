"""One row per operation: who did what to the table, when, with what, and how it ended."""

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.errors import ClipflowError, OperationClosed
from clipflow.schema import RUNS
from clipflow.table.address import TableAddress
from clipflow.table.dataset import create_dataset, open_dataset
from clipflow.table.guard import Change, guarded_commit, write_fragments

HEARTBEAT_SECONDS = 60.0
RUNNING = "running"


class Operation:
    """The row of one operation in the runs table, from `running` to its end.

    While it is open a thread renews the heartbeat, so that others can tell a live operation from a dead one.
    """

    def __init__(self, address: TableAddress, row: Mapping[str, Any]) -> None:
        self._address = address
        self._row: dict[str, Any] = {**row, "state": RUNNING}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._beat = threading.Thread(target=self._keep_alive, name="heartbeat", daemon=True)

    @property
    def run_id(self) -> str:
        """The operation's id."""
        return str(self._row["run_id"])

    def open(self, **more: Any) -> None:
        """Write the row as `running`, before the first commit to the images table."""
        create_dataset(self._address, self._address.runs, RUNS)
        self._write(more)
        self._beat.start()

    def close(self, state: str, **more: Any) -> None:
        """Write how it ended: `done` or `failed`."""
        self._ended.set()
        create_dataset(self._address, self._address.runs, RUNS)
        self._write({**more, "state": state, "ended_at": datetime.now(UTC)})

    def ensure_open(self) -> None:
        """Raises OperationClosed when somebody else closed the row."""
        runs = open_dataset(self._address, self._address.runs)
        states = _find(runs, self.run_id).column("state").to_pylist() if runs is not None else []
        if states != [RUNNING]:
            raise OperationClosed(
                f"The run {self.run_id} was closed by another operation; it commits nothing more.",
                "Run the job again.",
            )

    def _keep_alive(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                self.ensure_open()
                self._write({})
            except ClipflowError:
                # A missed beat is no reason to end a run: the next commit checks the row itself.
                continue

    def _write(self, more: Mapping[str, Any]) -> None:
        with self._lock:
            if self._ended.is_set() and "ended_at" not in more:
                return
            self._row |= {**more, "heartbeat_at": datetime.now(UTC)}
            row = {name: _plain(self._row.get(name)) for name in RUNS.names}
            fragments = write_fragments(
                pa.Table.from_pylist([row], RUNS), self._address, self._address.runs, RUNS
            )

            def replace(runs: lance.LanceDataset) -> Change:
                return Change(fragments, _find(runs, self.run_id).column("_rowaddr").to_pylist())

            guarded_commit(self._address, self._address.runs, replace, {"clipflow.run_id": self.run_id})


def _find(runs: lance.LanceDataset, run_id: str) -> pa.Table:
    return runs.to_table(columns=["state"], filter=pc.field("run_id") == run_id, with_row_address=True)


def _plain(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
