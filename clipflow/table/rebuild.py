"""Building indexes anew: an index that is only extended keeps entries of rows that are gone."""

import logging
from collections.abc import Callable
from typing import Any

import lance
from lance.query import DocumentGranularity

from clipflow.errors import first_line
from clipflow.faults import failure_kind
from clipflow.table.address import TableAddress
from clipflow.table.persist import is_conflict, persist

log = logging.getLogger("clipflow")

# As Lance names them in an index, and in its creation. It trains none of these again over rows that they cover.
_SCALAR_KINDS: dict[str, Any] = {
    "BTree": "BTREE",
    "Bitmap": "BITMAP",
    "BloomFilter": "BLOOMFILTER",
    "Inverted": "INVERTED",
    "LabelList": "LABEL_LIST",
    "NGram": "NGRAM",
    "ZoneMap": "ZONEMAP",
}


def rebuild(address: TableAddress, before: Callable[[], None]) -> int:
    """Build every index anew from the rows there are, with the parameters it has; old entries, centroids too, go.

    Args:
        before: Called before each commit; may raise.

    Returns:
        How many could not be built, and were dropped.
    """
    dropped = 0
    done: set[str] = set()

    def one(dataset: lance.LanceDataset) -> bool:
        nonlocal dropped
        waiting = [
            index for index in dataset.describe_indices() if not (index.name in done or index.name.startswith("__"))
        ]
        if not waiting:
            return False
        index = waiting[0]
        before()
        try:
            _anew(dataset, index)
        except (ValueError, RuntimeError) as error:
            if is_conflict(error) or failure_kind(error):
                raise
            log.warning("index: %s could not be built anew and is dropped: %s", index.name, first_line(error))
            dataset.drop_index(index.name)
            dropped += 1
        done.add(index.name)
        return True

    while persist(address, address.images, one):
        pass
    return dropped


def _anew(dataset: lance.LanceDataset, index: Any) -> None:
    log.info("index: build %s anew", index.name)
    if index.index_type in _SCALAR_KINDS:
        words = {name: value for name, value in index.details.items() if value is not None}
        if "document_granularity" in words:
            words["document_granularity"] = DocumentGranularity(words["document_granularity"])
        kind = _SCALAR_KINDS[index.index_type]
        dataset.create_scalar_index(index.field_names[0], kind, index.name, replace=True, **words)
        return
    dataset.optimize.optimize_indices(index_names=[index.name], retrain=True)
    dataset.checkout_latest()
    now = {part.uuid for there in dataset.describe_indices() if there.name == index.name for part in there.segments}
    if now & {part.uuid for part in index.segments}:
        raise ValueError(f"{index.index_type} is not trained again")
