"""Withdrawing: rows whose object is gone are rejected, not removed; they come back when the object does."""

from collections.abc import Iterable

import lance
import pyarrow as pa

from clipflow.columns import with_values
from clipflow.schema import SOURCE_DELETED
from clipflow.table.address import TableAddress
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.moved import ensure_in_place
from clipflow.table.replace import replace_rows, whole_rows
from clipflow.table.runs import Operation
from clipflow.table.verdict_times import with_verdict

_SEEN = ("image_id", "run_id")


def withdraw(address: TableAddress, gone: Iterable[pa.Table], operation: Operation) -> tuple[int, int]:
    """Give rows the status rejected, with the reason `source_deleted` beside those they have.

    Args:
        gone: Chunks of (image_id, run_id): rows as they were seen. One that was written since then stays.

    Returns:
        Rows withdrawn, and the table's version afterwards (0 when there was no chunk).
    """
    rows, version = 0, 0
    for chunk in gone:
        planned = dict(zip(*(chunk.column(name).to_pylist() for name in ("image_id", "run_id")), strict=True))
        found = 0

        def decide(dataset: lance.LanceDataset, planned: dict[str, str] = planned) -> Change:
            nonlocal found
            operation.ensure_open()
            ensure_in_place(dataset)
            there = whole_rows(address, dataset, planned)
            seen = zip(*(there.column(name).to_pylist() for name in _SEEN), strict=True)
            stays = [planned[key] != run for key, run in seen]
            there = there.filter(pa.array([not stay for stay in stays], pa.bool_()))
            found = len(there)
            return replace_rows(address, dataset, _rejected(there, operation.run_id))

        version = guarded_commit(address, address.images, decide, operation.properties).version
        rows += found
    return rows, version


def _rejected(rows: pa.Table, run_id: str) -> pa.Table:
    reasons = [sorted({*(there or []), SOURCE_DELETED}) for there in rows.column("reasons").to_pylist()]
    rows = with_verdict(rows, ["rejected"] * len(rows), reasons)
    return with_values(rows, "run_id", [run_id] * len(rows))
