"""Reviews carried from one table to another: a human's verdict holds for the bytes, whatever made the vector."""

from collections.abc import Iterable

import lance
import pyarrow as pa

from clipflow.columns import with_columns
from clipflow.policy.verdict import verdicts
from clipflow.schema import REVIEW_COLUMNS
from clipflow.table.address import TableAddress
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.images import about_images, policy_of
from clipflow.table.replace import replace_rows, whole_rows
from clipflow.table.runs import Operation
from clipflow.table.verdict_times import with_verdict


def carry_reviews(address: TableAddress, batches: Iterable[pa.Table], operation: Operation) -> int:
    """Give rows the reviews of rows with equal bytes, a version a batch; gives how many rows changed.

    Args:
        batches: image_id, content_sha256 and the columns of a review; all null where a verdict was withdrawn.
    """
    carried = 0
    for batch in batches:
        carried += _carry(address, batch, operation)
    return carried


def _carry(address: TableAddress, batch: pa.Table, operation: Operation) -> int:
    said = {row["image_id"]: row for row in batch.to_pylist()}
    changed = 0

    def decide(dataset: lance.LanceDataset) -> Change:
        nonlocal changed
        operation.ensure_open()
        rows = whole_rows(address, dataset, said)
        pairs = zip(rows.column("image_id").to_pylist(), rows.column("content_sha256").to_pylist(), strict=True)
        # Once more here: between the question and the commit the row may have got other bytes.
        rows = rows.filter(pa.array([said[key]["content_sha256"] == content for key, content in pairs], pa.bool_()))
        given = [said[key] for key in rows.column("image_id").to_pylist()]
        rows = with_columns(rows, {name: [row[name] for row in given] for name in REVIEW_COLUMNS})
        found = verdicts(policy_of(about_images(dataset)), rows)
        rows = with_verdict(rows, found.status, found.reasons)
        changed = len(rows)
        return replace_rows(address, dataset, rows)

    guarded_commit(address, address.images, decide, operation.properties)
    return changed
