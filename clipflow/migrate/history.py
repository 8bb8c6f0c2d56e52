"""What a row of the old table says of its past, told to the run that makes its successor."""

from collections.abc import Iterator

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.columns import with_columns
from clipflow.schema import TIME
from clipflow.table.first_seen import FIRST_SEEN_COLUMNS, first_seen_column
from clipflow.table.key_set import folded


class History:
    """Since when bytes are known under an address, and whose row it is; some 30 bytes a row are held.

    Which of two rows alike is the original then is what it was, and a source goes on to own its rows.

    Args:
        dataset: The old table.
    """

    def __init__(self, dataset: lance.LanceDataset) -> None:
        self._sources: list[str | None] = [None]
        parts = list(self._read(dataset))
        keys, etags, moments, sources = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(keys)
        self._keys, self._etags = keys[order], etags[order]
        self._moments, self._source = moments[order], sources[order]

    def amend(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """A batch of the listing with the old table's `source_id`, and its `first_seen_at` where bytes are the same."""
        keys = folded(batch.column("image_id"))
        places = np.minimum(np.searchsorted(self._keys, keys), max(len(self._keys) - 1, 0))
        known = np.zeros(len(keys), bool) if not len(self._keys) else self._keys[places] == keys
        if not known.any():
            return batch
        same = known & (self._etags[places] == _hashes(batch.column("source_etag")))
        moments = pa.array(self._moments[places], mask=~same).cast(TIME)
        sources = [self._sources[at] if there else None for at, there in zip(self._source[places], known, strict=True)]
        rows = pa.Table.from_batches([batch])
        rows = with_columns(
            rows,
            {
                "first_seen_at": pc.coalesce(moments, rows.column("first_seen_at").combine_chunks()),
                "source_id": pa.array(sources, pa.string()),
            },
        )
        return rows.combine_chunks().to_batches()[0]

    def _read(self, dataset: lance.LanceDataset) -> Iterator[tuple[np.ndarray, ...]]:
        columns = ["image_id", "source_etag", *FIRST_SEEN_COLUMNS, "source_id"]
        there = [name for name in columns if name in dataset.schema.names]
        yield np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int32)
        for batch in dataset.scanner(columns=there).to_batches():
            rows = pa.Table.from_batches([batch])
            for name, kind in (("first_seen_at", TIME), ("source_id", pa.string())):
                if name not in there:
                    rows = rows.append_column(name, pa.nulls(len(rows), kind))
            moments = first_seen_column(rows).cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
            yield folded(batch.column("image_id")), _hashes(batch.column("source_etag")), moments, self._codes(rows)

    def _codes(self, rows: pa.Table) -> np.ndarray:
        found = []
        for name in rows.column("source_id").to_pylist():
            if name not in self._sources:
                self._sources.append(name)
            found.append(self._sources.index(name))
        return np.array(found, np.int32)


def _hashes(etags: pa.Array) -> np.ndarray:
    return np.fromiter((hash(etag) for etag in etags.to_pylist()), np.int64, len(etags))
