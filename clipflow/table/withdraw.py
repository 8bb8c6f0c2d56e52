"""Withdrawing: rows whose object is gone are rejected, not removed; they come back when the object does."""

from collections.abc import Iterable
from datetime import UTC, datetime

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.columns import with_values
from clipflow.table.address import TableAddress
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.runs import Operation
from clipflow.table.stage import write_rows

SOURCE_DELETED = "source_deleted"


def withdraw(address: TableAddress, gone: Iterable[pa.Table], operation: Operation) -> tuple[int, int]:
    """Give rows the status rejected, with the reason `source_deleted` beside those they have.

    Args:
        gone: Chunks of (image_id, run_id): rows as planning saw them. One that was written since then stays.

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
            there = dataset.to_table(filter=pc.field("image_id").isin(pa.array(planned)), with_row_address=True)
            pairs = zip(there.column("image_id").to_pylist(), there.column("run_id").to_pylist(), strict=True)
            there = there.filter(pa.array([planned[key] == run for key, run in pairs], pa.bool_()))
            found = len(there)
            if not found:
                return Change()
            addresses = there.column("_rowaddr").to_pylist()
            return Change(write_rows(_rejected(there, operation.run_id), address, dataset), addresses)

        version = guarded_commit(address, address.images, decide, operation.properties).version
        rows += found
    return rows, version


def _rejected(rows: pa.Table, run_id: str) -> pa.Table:
    reasons = [sorted({*(there or []), SOURCE_DELETED}) for there in rows.column("reasons").to_pylist()]
    values = {
        "status": ["rejected"] * len(rows),
        "reasons": reasons,
        "judged_at": [datetime.now(UTC)] * len(rows),
        "run_id": [run_id] * len(rows),
    }
    for name, items in values.items():
        rows = with_values(rows, name, items)
    return rows
