"""Compaction: many small fragments become few, in the same order, with the same row ids."""

from collections.abc import Callable

import lance
from lance.optimize import Compaction, CompactionOptions, CompactionTask

from clipflow.table.address import TableAddress
from clipflow.table.persist import persist

ROWS_PER_FRAGMENT = 250_000
"""At most so many rows are written again because a few new ones came. Lance's own million can be a gigabyte."""
_OPTIONS: CompactionOptions = {"target_rows_per_fragment": ROWS_PER_FRAGMENT}
_DELETIONS: CompactionOptions = {
    "target_rows_per_fragment": ROWS_PER_FRAGMENT,
    "materialize_deletions": True,
    "materialize_deletions_threshold": 0.0,
}


def compact(address: TableAddress, uri: str, before: Callable[[], None], *, deletions: bool = False) -> None:
    """Compact until nothing is left to compact.

    Each group of fragments is a commit of its own: a conflict or a kill costs one group, not all.

    Args:
        before: Called before each commit; may raise.
        deletions: Rewrite every fragment of which a row was deleted, and not only those that lost a tenth.
    """
    options = _DELETIONS if deletions else _OPTIONS

    def one(dataset: lance.LanceDataset) -> bool:
        tasks = _tasks(dataset, options)
        if tasks:
            before()
            # One pass of Lance's own `compact_files` can leave fragments that the next one would join.
            Compaction.commit(dataset, [tasks[0].execute(dataset)], options)
        return bool(tasks)

    while persist(address, uri, one):
        pass


def is_due(dataset: lance.LanceDataset) -> bool:
    """Whether there is anything to compact."""
    return bool(_tasks(dataset))


def fragments_after(dataset: lance.LanceDataset) -> int:
    """How many fragments `compact` would leave; about, for the last of a group takes the remainder."""
    left = len(dataset.get_fragments())
    for task in _tasks(dataset):
        rows = sum(fragment.num_rows for fragment in task.fragments)
        left += max(1, rows // ROWS_PER_FRAGMENT) - len(task.fragments)
    return left


def _tasks(dataset: lance.LanceDataset, options: CompactionOptions = _OPTIONS) -> list[CompactionTask]:
    tasks: list[CompactionTask] = Compaction.plan(dataset, options).tasks
    return tasks
