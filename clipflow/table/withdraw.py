"""Withdrawing: rows whose object is gone are rejected, not removed; they come back when the object does."""

from collections.abc import Iterable
from datetime import UTC, datetime

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.table.address import TableAddress
from clipflow.table.guard import Change, guarded_commit, write_fragments
from clipflow.table.runs import Operation

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
            schema = dataset.schema.remove_metadata()
            rejected = _rejected(there.drop_columns(["_rowaddr"]), operation.run_id).cast(schema)
            return Change(write_fragments(rejected, address, address.images, schema), addresses)

        properties = {"clipflow.run_id": operation.run_id, "clipflow.verb": "run"}
        version = guarded_commit(address, address.images, decide, properties).version
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
        at = rows.schema.get_field_index(name)
        rows = rows.set_column(at, rows.schema.field(at), pa.array(items, rows.schema.field(at).type))
    return rows
