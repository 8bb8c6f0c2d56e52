"""Retention: rows whose source is older than a job keeps them.

Nothing is entombed: its age is what keeps an old object away, and a newer upload under its address is welcome.
"""

import logging
from datetime import UTC, datetime, timedelta

import lance

from clipflow.table.address import TableAddress
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.images import open_images
from clipflow.table.runs import Operation
from clipflow.table.settling import change_without

log = logging.getLogger("clipflow")

AGE = ("source_modified", "embedded_at")
"""A row is as old as its source, or where the store does not say that, as its embedding."""


def kept_from(days: int | None) -> datetime | None:
    """Rows and objects that are older are not kept; None keeps all."""
    return None if days is None else datetime.now(UTC) - timedelta(days=days)


def expire(address: TableAddress, days: int, operation: Operation) -> int:
    """Remove rows that are older, from the latest version; files hold them until `clipflow forget --older-than`.

    Returns:
        The table's version afterwards.
    """
    before = datetime.now(UTC) - timedelta(days=days)
    condition = f"coalesce({', '.join(AGE)}) < timestamp '{before.isoformat(sep=' ')}'"
    dataset = open_images(address)
    removed: list[int] = []

    def decide(dataset: lance.LanceDataset) -> Change:
        nonlocal removed
        operation.ensure_open()
        rows = dataset.to_table(columns=["image_id"], filter=condition, with_row_address=True)
        removed = rows.column("_rowaddr").to_pylist()
        return change_without(address, dataset, removed)

    if dataset.count_rows(condition):
        operation.open()
        dataset = guarded_commit(address, address.images, decide, operation.properties)
    operation.note(expired=len(removed))
    log.info("retention: %d rows older than %d days removed", len(removed), days)
    return int(dataset.version)
