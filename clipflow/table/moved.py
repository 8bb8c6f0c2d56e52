"""Where a table's readers find it since it was migrated: one key of its metadata, written by one commit.

Readers who name the old table follow it; who writes rows into the old table is refused. The old table itself stays
as it was, and is maintained, audited and forgotten from by its own name.
"""

import os
from typing import Any

import lance

from clipflow.errors import TableError
from clipflow.table.address import TableAddress
from clipflow.table.dataset import metadata, open_dataset
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.persist import persist
from clipflow.table.runs import Operation

MOVED_TO = "moved_to"


def moved_to(dataset: lance.LanceDataset) -> str | None:
    """Path or URI of the table that took this one's place; None while it is in its place itself."""
    name = metadata(dataset).get(MOVED_TO)
    if name is None or "://" in name or os.path.isabs(name):
        return name
    return os.path.join(os.path.dirname(str(dataset.uri).rstrip("/")), name)


def current(address: TableAddress) -> TableAddress:
    """The table that readers of this one see now: itself, or the one that it was migrated to, over any number of steps.

    Raises:
        StorageUnavailable: See `clipflow.errors`.
    """
    while (dataset := open_dataset(address)) is not None and (there := moved_to(dataset)) is not None:
        address = TableAddress(TableAddress.of(there).images, address.storage)
    return address


def ensure_in_place(dataset: lance.LanceDataset) -> None:
    """Raises TableError when readers see another table in this one's place."""
    if (there := moved_to(dataset)) is not None:
        raise TableError(f"The table {dataset.uri} was migrated to {there}; it takes no new rows.", f"Name {there}.")


def move(address: TableAddress, to: TableAddress, operation: Operation) -> None:
    """Point readers to another table. Whatever was decided on the table before commits nothing afterwards."""
    # By its name where both lie in one folder, which may then be moved or mirrored as a whole.
    name = os.path.basename(to.images) if to.folder == address.folder else to.images

    def once(dataset: lance.LanceDataset) -> None:
        operation.ensure_open()
        if metadata(dataset).get(MOVED_TO) != name:
            dataset.update_schema_metadata({MOVED_TO: name})

    persist(address, address.images, once)
    # Lance lets an Update that began before pass a change of metadata; a guarded commit stops it.
    guarded_commit(address, address.images, _seal, operation.properties)


def _seal(dataset: Any) -> Change:
    return Change(always=True)
