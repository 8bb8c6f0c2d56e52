"""Changes of a table that are no rows: made on its latest version, and again when another writer was faster."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

import lance
from lance.commit import CommitConflictError

from clipflow.errors import CommitContention
from clipflow.table.address import TableAddress
from clipflow.table.dataset import as_ours, is_overtaken, open_dataset

_PATIENCE_SECONDS = 600.0
# Lance has an exception of its own for this in some places only; in others it is a bare OSError or ValueError.
_CONFLICTS = ("ommit conflict", "Ref conflict")

Result = TypeVar("Result")


def persist(address: TableAddress, uri: str, act: Callable[[lance.LanceDataset], Result]) -> Result:
    """What `act` makes of the latest version, tried again after every conflict with another writer.

    Args:
        act: Called with the dataset at its latest version; must leave nothing behind when it raises.

    Raises:
        CommitContention: Others kept winning for ten minutes.
        StorageUnavailable, TableError: The store refused.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.05
    while time.monotonic() < deadline:
        dataset = open_dataset(address, uri)
        if dataset is None:
            raise as_ours(FileNotFoundError(uri), uri)
        try:
            return act(dataset)
        except (ValueError, OSError, RuntimeError) as error:
            if not is_conflict(error) and not is_overtaken(dataset, address, uri):
                raise as_ours(error, uri) from error
            time.sleep(random.uniform(0, pause))
            pause = min(pause * 1.5, 2.0)
    raise CommitContention(
        f"Other writers of {uri} won every commit for {_PATIENCE_SECONDS:.0f} seconds.", "Maintain it later."
    )


def is_conflict(error: Exception) -> bool:
    """Whether another writer was faster."""
    return isinstance(error, CommitConflictError) or any(words in str(error) for words in _CONFLICTS)
