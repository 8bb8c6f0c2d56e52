"""Clean-up: versions that are old enough go, with the files that only they name."""

from datetime import timedelta

import lance
from lance.lance import CleanupStats

from clipflow.table.address import TableAddress
from clipflow.table.persist import persist

YOUNG = timedelta(hours=1)
"""Younger versions stay whatever was asked for: a commit on its way or a reader may stand on one."""


def age_of(keep_days: int) -> timedelta:
    """From what age on versions go."""
    return max(timedelta(days=keep_days), YOUNG)


def clean_up(address: TableAddress, uri: str, age: timedelta) -> CleanupStats:
    """Remove versions older than `age`; the latest and tagged ones stay.

    Files that no version names may be staged by a run beside us. Lance leaves them for seven days whatever the age
    asked for, unless told `delete_unverified`, which is why that never stands here.
    """
    # Lance takes an age of nothing for none given.
    age = max(age, timedelta(microseconds=1))

    def once(dataset: lance.LanceDataset) -> CleanupStats:
        removed: CleanupStats = dataset.cleanup_old_versions(age, error_if_tagged_old_versions=False)
        return removed

    return persist(address, uri, once)


def foresee(dataset: lance.LanceDataset, age: timedelta) -> CleanupStats:
    """What `clean_up` would remove now."""
    removed: CleanupStats = dataset.explain_cleanup_old_versions(age, error_if_tagged_old_versions=False).stats
    return removed
