"""Rewriting columns of rows that stay where they are: a million rows in seconds, and no vector is touched.

These commits carry no guard: with it a judge would starve beside runs that commit all the time. Lance makes them
conflict with whoever changed the same fragments, and then they are made again.
"""

from collections.abc import Callable, Iterator, Mapping

import lance
import numpy as np
import pyarrow as pa

from clipflow.policy.scorers.duplicate import Places
from clipflow.table.address import TableAddress
from clipflow.table.persist import persist

_ROWS_PER_COMMIT = 500_000


def rewrite_columns(
    address: TableAddress, rows: pa.Table, before: Callable[[lance.LanceDataset], None], properties: Mapping[str, str]
) -> None:
    """Give rows other values, in commits of some fragments each; rows that are gone meanwhile are passed over.

    Args:
        rows: `_rowid`, ascending, and the columns to rewrite.
        before: Called before each commit with the version that it starts from; may raise.
        properties: Recorded with the transactions.
    """
    pending = np.ones(len(rows), bool)

    def some(dataset: lance.LanceDataset) -> Places:
        before(dataset)
        updated, offsets, written = [], {}, [np.empty(0, np.int64)]
        for fragment, places in _by_fragment(dataset, rows.column("_rowid").to_numpy(), pending):
            mine = rows.take(pa.array(places))
            changed, _, matched = fragment.update_columns(mine, left_on="_rowid", with_offsets=True)
            updated.append(changed)
            offsets[fragment.fragment_id] = matched
            written.append(places)
            if sum(map(len, written)) >= _ROWS_PER_COMMIT:
                break
        if updated:
            operation = lance.LanceOperation.Update(
                removed_fragment_ids=[],
                updated_fragments=updated,
                new_fragments=[],
                fields_modified=_field_ids(dataset, rows.column_names),
                fields_for_preserving_frag_bitmap=[],
                update_mode="rewrite_columns",
                updated_fragment_offsets=offsets,
            )
            transaction = lance.Transaction(dataset.version, operation, transaction_properties=dict(properties))
            lance.LanceDataset.commit(address.images, transaction, max_retries=0, storage_options=address.options)
        return np.concatenate(written)

    while pending.any():
        written = persist(address, address.images, some)
        if not len(written):
            return
        pending[written] = False


def _by_fragment(
    dataset: lance.LanceDataset, ids: Places, pending: np.ndarray
) -> Iterator[tuple[lance.LanceFragment, Places]]:
    """The fragments that hold some of the pending rows, and which."""
    for fragment in dataset.get_fragments():
        held = fragment.scanner(columns=[], with_row_id=True).to_table().column("_rowid").to_numpy()
        places = np.searchsorted(ids, held)
        found = ids[np.minimum(places, len(ids) - 1)] == held
        places = np.sort(places[found])
        places = places[pending[places]]
        if len(places):
            yield fragment, places


def _field_ids(dataset: lance.LanceDataset, names: list[str]) -> list[int]:
    """Ids of the columns and of what lies in them: a list's own id alone leaves its index with the old answers."""

    def walk(field: object) -> Iterator[int]:
        yield field.id()  # type: ignore[attr-defined]
        for child in field.children():  # type: ignore[attr-defined]
            yield from walk(child)

    return [one for field in dataset.lance_schema.fields() if field.name() in names for one in walk(field)]
