"""One row per operation: who did what to the table, when, with what, and how it ended."""

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.context import context_given
from clipflow.errors import ClipflowError, OperationClosed
from clipflow.refusals import in_our_words, refusals
from clipflow.report import RunReport
from clipflow.schema import COUNTS, RUNS, VERDICTS
from clipflow.table.address import TableAddress
from clipflow.table.dataset import ensure_columns, ensure_dataset, open_dataset
from clipflow.table.guard import Change, guarded_commit, write_fragments
from clipflow.table.process import this_process
from clipflow.version import __version__

HEARTBEAT_SECONDS = 60.0
RUNNING, CLOSED = "running", "closed"


class Operation:
    """The row of one operation in the runs table, from `running` to its end. A context manager.

    An operation that changes rows calls `open` before its first commit; one that only looked leaves a row at
    its end, if there is a table at all. While it is open a thread renews the heartbeat, so that others can
    tell a live operation from a dead one.

    Args:
        record: What is known from the start, see `assignment.Assignment.record`.
        report: Read at the end.
    """

    def __init__(self, address: TableAddress, record: Mapping[str, Any], report: RunReport) -> None:
        self._address = address
        self._report = report
        self._row: dict[str, Any] = {**record, "state": RUNNING, "started_at": datetime.now(UTC)}
        self._row |= {"from_version": report.version, "process": this_process()}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._beat: threading.Thread | None = None
        self._written = self._ready = False

    @property
    def run_id(self) -> str:
        """The operation's id."""
        return str(self._row["run_id"])

    @property
    def began(self) -> datetime:
        """When it began, by this machine's clock."""
        began: datetime = self._row["started_at"]
        return began

    @property
    def properties(self) -> dict[str, str]:
        """What its commits record with their transactions."""
        return {"clipflow.run_id": self.run_id, "clipflow.verb": str(self._row["verb"])}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        told = in_our_words(error) if isinstance(error, Exception) else None
        self._close(told or error)
        if told is not None and told is not error:
            raise told from error

    def _close(self, error: BaseException | None) -> None:
        self._report.end()
        document = self._report.document()
        if isinstance(error, ClipflowError):
            error.report = document
        if self._report.version is None and self._beat is None:
            return
        ending = {name: document[name] for name in (*COUNTS, *VERDICTS, "repeated", "reasons", "seconds")}
        ending["encoder"] = {**self._row["encoder"], "computed_in": sorted(self._report.precisions)}
        ending |= {"to_version": document["version"], "state": "done", "ended_at": datetime.now(UTC)}
        if error is not None:
            ending |= {"state": "failed", "error": _describe(error)}
        self._ended.set()
        if isinstance(error, OperationClosed):
            return
        try:
            with refusals():
                self._write(ending)
        except ClipflowError:
            if error is None:
                raise

    def open(self) -> None:
        """Write the row as `running`, before the first commit to the images table; once is enough."""
        if self._beat is not None:
            return
        self._write({})
        self._beat = threading.Thread(target=self._keep_alive, name="heartbeat", daemon=True)
        self._beat.start()

    def note(self, **detail: Any) -> None:
        """What the row says beyond the counts of a run, such as a verb's own figures; written at its end."""
        self._row["detail"] = {**self._row.get("detail", {}), **detail}

    def ensure_open(self) -> None:
        """Raises OperationClosed when somebody else closed the row."""
        runs = open_dataset(self._address, self._address.runs)
        self._check([] if runs is None else _find(runs, self.run_id).column("state").to_pylist())

    def _check(self, states: list[str]) -> None:
        if states != [RUNNING]:
            raise OperationClosed(
                f"The run {self.run_id} was closed by another operation; it commits nothing more.",
                "Run the job again.",
            )

    def _keep_alive(self) -> None:
        while not self._ended.wait(HEARTBEAT_SECONDS):
            try:
                with refusals():
                    self._write({})
            except ClipflowError:
                # A missed beat is no reason to end a run: the next commit checks the row itself.
                continue

    def _write(self, more: Mapping[str, Any]) -> None:
        with self._lock:
            if self._ended.is_set() and "ended_at" not in more:
                return
            if not self._ready:
                ensure_dataset(self._address, self._address.runs, RUNS)
                ensure_columns(self._address, self._address.runs, RUNS)
                self._ready = True
            self._row |= {**more, "heartbeat_at": datetime.now(UTC)}
            row = {name: _plain(self._row.get(name)) for name in RUNS.names}
            fragments = write_fragments(pa.Table.from_pylist([row], RUNS), self._address, self._address.runs, RUNS)

            def replace(runs: lance.LanceDataset) -> Change:
                there = _find(runs, self.run_id)
                if self._written:
                    self._check(there.column("state").to_pylist())
                return Change(fragments, there.column("_rowaddr").to_pylist())

            guarded_commit(self._address, self._address.runs, replace, self.properties)
            self._written = True


def record(verb: str, run_id: str, spec: Mapping[str, Any], about: Mapping[str, str]) -> dict[str, Any]:
    """What the runs table says from its start of an operation on a table that is there.

    Args:
        verb: The word of the command line.
        spec: What was asked, without any image's address or caption.
        about: The table's metadata.
    """
    return {
        "run_id": run_id,
        "verb": verb,
        "spec": dict(spec),
        "encoder_id": about["encoder_id"],
        "encoder": json.loads(about["encoder"]),
        "policy_id": about["policy_id"],
        "policy": json.loads(about["policy"]),
        "context": context_given(),
        "clipflow_version": __version__,
    }


def _describe(error: BaseException) -> dict[str, Any]:
    if isinstance(error, ClipflowError):
        return error.document()
    return {"class": type(error).__name__, "message": str(error), "mend": "", "retryable": True}


def _find(runs: lance.LanceDataset, run_id: str) -> pa.Table:
    return runs.to_table(columns=["state"], filter=pc.field("run_id") == run_id, with_row_address=True)


def _plain(value: Any) -> Any:
    return json.dumps(value, sort_keys=True) if isinstance(value, dict) else value
