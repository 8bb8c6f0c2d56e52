"""The guarded commit: the one door through which rows of any of our tables change.

Lance rebases a stale Append or Update silently, so two writers of one new key would both succeed.
Every Update here also removes a fragment id that never exists. Lance ignores it when it builds the
manifest, yet any two Updates that carry it conflict: a compare-and-swap on the table's version.
This is not documented by Lance; the race test in the suite and the pinned pylance keep it true.
"""

import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import lance
import pyarrow as pa
from lance.commit import CommitConflictError
from lance.fragment import FragmentMetadata

from clipflow.errors import CommitContention
from clipflow.table.address import TableAddress
from clipflow.table.dataset import as_ours, is_overtaken, open_dataset

_NEVER_A_FRAGMENT = 0xFFFFFFFF
_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Change:
    """What one commit does.

    Attributes:
        new: Staged fragments whose rows appear.
        removed: Row addresses (`_rowaddr`) whose rows vanish in the same version.
        always: Commit a version even if no row changes, so that every commit decided on an older one conflicts.
    """

    new: list[FragmentMetadata] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    always: bool = False


def guarded_commit(
    address: TableAddress,
    uri: str,
    decide: Callable[[lance.LanceDataset], Change | None],
    properties: Mapping[str, str],
) -> lance.LanceDataset:
    """Commit what `decide` makes of the latest version; decide again whenever another writer was faster.

    Args:
        decide: Called with the dataset at its latest version; None or an empty Change commits nothing, unless
            it says always.
        properties: Recorded with the transaction.

    Returns:
        The dataset at the version that holds the change, or at the latest one when there was none.

    Raises:
        CommitContention: Others kept winning for ten minutes.
        StorageUnavailable, TableError: The store refused.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    pause = 0.01
    while time.monotonic() < deadline:
        dataset = open_dataset(address, uri)
        if dataset is None:
            raise as_ours(FileNotFoundError(uri), uri)
        try:
            change = decide(dataset)
        except (ValueError, OSError):
            if not is_overtaken(dataset, address, uri):
                raise
        else:
            if change is None or not (change.new or change.removed or change.always):
                return dataset
            try:
                return _commit(dataset, change, address, uri, properties)
            except CommitConflictError:
                pass
            except (ValueError, OSError) as error:
                if not is_overtaken(dataset, address, uri):
                    raise as_ours(error, uri) from error
        time.sleep(random.uniform(0, pause))
        pause = min(pause * 1.5, 0.5)
    raise CommitContention(
        f"Other writers of {uri} won every commit for {_PATIENCE_SECONDS:.0f} seconds.", "Run the job again later."
    )


def _commit(
    dataset: lance.LanceDataset, change: Change, address: TableAddress, uri: str, properties: Mapping[str, str]
) -> lance.LanceDataset:
    gone, updated = _removals(dataset, change.removed)
    operation = lance.LanceOperation.Update(
        removed_fragment_ids=[_NEVER_A_FRAGMENT, *gone],
        updated_fragments=updated,
        new_fragments=change.new,
        fields_modified=[],
        fields_for_preserving_frag_bitmap=[],
    )
    transaction = lance.Transaction(dataset.version, operation, transaction_properties=dict(properties))
    return lance.LanceDataset.commit(uri, transaction, max_retries=0, storage_options=address.options)


def write_fragments(
    rows: pa.Table | pa.RecordBatchReader, address: TableAddress, uri: str, schema: pa.Schema
) -> list[FragmentMetadata]:
    """Write rows into files under the table that no version names yet."""
    try:
        fragments: list[FragmentMetadata] = lance.fragment.write_fragments(
            rows, uri, schema=schema, mode="append", storage_options=address.options
        )
    except (ValueError, OSError) as error:
        raise as_ours(error, uri) from error
    return fragments


def _removals(dataset: lance.LanceDataset, addresses: Iterable[int]) -> tuple[list[int], list[FragmentMetadata]]:
    offsets: dict[int, list[int]] = {}
    for row in addresses:
        offsets.setdefault(row >> 32, []).append(row & 0xFFFFFFFF)
    gone: list[int] = []
    updated: list[FragmentMetadata] = []
    for fragment_id, rows in offsets.items():
        fragment = dataset.get_fragment(fragment_id)
        # Its rows were read from this very version.
        assert fragment is not None
        left = fragment.delete_rows(rows)
        if left is None:
            gone.append(fragment_id)
        else:
            updated.append(left)
    return gone, updated
