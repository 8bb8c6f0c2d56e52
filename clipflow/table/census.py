"""A census: all rows of a table at one version, those that leave it, and those on their way to it."""

from collections.abc import Collection, Iterator

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.policy.check import match_columns, score_columns
from clipflow.policy.scorers.base import Evidence, Floats
from clipflow.policy.scorers.duplicate import NOBODY, Bools, Places
from clipflow.schema import MEASURES, SOURCE_DELETED, TIME
from clipflow.spec import PolicySpec
from clipflow.table.first_seen import FIRST_SEEN_COLUMNS, first_seen_column, is_by_first_seen, ranks

_READ = ("image_id", "source_modified", "first_seen_at", "status", "reasons", "reviewed_verdict", "policy_id")
_BLOCK = 4_096


class Census:
    """N rows, each at its place: those of the dataset in its order, then those that come.

    Attributes:
        there: How many of them the dataset holds.
        rank: int64 [N], the place of each row in the order (first_seen_at, image_id): smaller is earlier. Of a table
            from before that column, until it is judged, in the order (source_modified, image_id).
        present: bool [N], rows that do not leave.
        embedded: bool [N], those of them that have a vector.
        coming: bool [N], rows that the dataset does not hold yet.
        failures: string [N], the code of failed rows.
        standing: string [N], a reason beside the rules that rejects the row.
        reviews: string [N], a human's verdict.
        addresses: int64 of the dataset's rows, where Lance has them at this version.
        row_ids: uint64 of the dataset's rows, which they keep as long as nobody replaces them.

    Args:
        dataset: The images table.
        policy: Whose scores are read; columns that are missing are null.
        coming: Rows to be added, with the columns of the table.
        leaving: Row addresses of the dataset that are removed with the same commit.
        by_first_seen: The order of the rows; None takes the table's.
    """

    def __init__(
        self,
        dataset: lance.LanceDataset,
        policy: PolicySpec,
        coming: pa.Table | None = None,
        leaving: Collection[int] = (),
        by_first_seen: bool | None = None,
    ) -> None:
        self._dataset, self._new = dataset, coming
        self.by_first_seen = is_by_first_seen(dataset) if by_first_seen is None else by_first_seen
        names = [*_READ, *MEASURES, *score_columns(policy), *match_columns(policy)]
        names = [name for name in names if name in dataset.schema.names]
        held = dataset.to_table(columns=names, with_row_address=True, with_row_id=True)
        self.there = len(held)
        self.addresses = held.column("_rowaddr").to_numpy().astype(np.int64)
        self.row_ids = held.column("_rowid").to_numpy()
        held = held.select(names)
        self._rows = held if coming is None else pa.concat_tables([held, coming.select(names).cast(held.schema)])
        self._rows = self._rows.combine_chunks()
        rows = len(self._rows)
        self.present = np.ones(rows, bool)
        self.present[: self.there] = ~np.isin(self.addresses, np.fromiter(leaving, np.int64, len(leaving)))
        self.coming = np.arange(rows) >= self.there
        failed = pc.equal(self.strings("status"), "failed")
        self.embedded = self.present & ~failed.to_numpy(zero_copy_only=False)
        self.failures, self.standing = _codes(self._column("reasons"), failed)
        self.reviews = self.strings("reviewed_verdict")
        self.rank = ranks(self._moments(), self.image_id)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def image_id(self) -> pa.Array:
        """String [N]."""
        return self.strings("image_id")

    @property
    def candidates(self) -> Bools:
        """Bool [N]: rows that can be originals, as far as rules do not matter."""
        rejected = pc.equal(self.reviews, "rejected").fill_null(False).to_numpy(zero_copy_only=False)
        return np.asarray(self.embedded & ~rejected & self.standing.is_null().to_numpy(zero_copy_only=False))

    @property
    def columns(self) -> list[str]:
        """The columns that the table has at this version."""
        names: list[str] = self._dataset.schema.names
        return names

    def strings(self, name: str) -> pa.Array:
        """A column of texts [N]; nulls where the table has no such column."""
        return self._column(name) if name in self._rows.column_names else pa.nulls(len(self), pa.string())

    def reasons(self) -> pa.Array:
        """Lists of strings [N], as stored."""
        return self._column("reasons")

    def floats(self, name: str) -> Floats:
        """A column of numbers, float32 [N]; NaN for null, and where the table has no such column."""
        if name not in self._rows.column_names:
            return np.full(len(self), np.nan, np.float32)
        return np.array(self._column(name).to_numpy(zero_copy_only=False), np.float32)

    def places(self, name: str) -> Places:
        """Where the rows stand that a column names by image_id; NOBODY where there is none, or another in its stead."""
        there = pc.if_else(pa.array(self.present & ~self.coming), self.image_id, None)
        found: Places = pc.index_in(self.strings(name), value_set=there, skip_nulls=True).fill_null(NOBODY).to_numpy()
        return found.astype(np.int64)

    def find(self, rows: "Census") -> Places:
        """Where the rows of another version of the table stand in this one; NOBODY for those it does not have."""
        order = np.argsort(self.row_ids)
        at = np.minimum(np.searchsorted(self.row_ids, rows.row_ids, sorter=order), max(len(order) - 1, 0))
        if not len(order):
            return np.full(len(rows), NOBODY, np.int64)
        return np.where(self.row_ids[order[at]] == rows.row_ids, order[at], NOBODY)

    def lost(self, name: str) -> Bools:
        """Bool [N]: rows whose original leaves, or left."""
        named = self.strings(name).is_valid().to_numpy(zero_copy_only=False)
        return np.asarray(self.present & named & (self.places(name) == NOBODY))

    def blocks(self, column: str) -> Iterator[tuple[int, pa.Array]]:
        """A column from its first row to its last, each block with the place of its first row."""
        at = 0
        for batch in self._dataset.scanner(columns=[column], batch_size=_BLOCK, scan_in_order=True).to_batches():
            yield at, batch.column(0)
            at += batch.num_rows
        if self._new is not None:
            for chunk in self._chunks(column):
                yield at, chunk
                at += len(chunk)

    def take(self, column: str, places: Places) -> pa.Array:
        """A column of some rows."""
        return self.rows(places, [column]).column(0).combine_chunks()

    def rows(self, places: npt.NDArray[np.int64], columns: list[str] | None = None) -> pa.Table:
        """Some rows whole, or some of their columns, in the order asked for."""
        names = columns or self._dataset.schema.names
        held = places < self.there
        parts = [self._dataset.take(places[held].tolist(), columns=names)]
        if self._new is not None:
            parts.append(self._new.select(names).take(pa.array(places[~held] - self.there)).cast(parts[0].schema))
        order = np.argsort(np.concatenate([np.flatnonzero(held), np.flatnonzero(~held)]))
        return pa.concat_tables(parts).take(pa.array(order))

    def evidence(self, places: Places) -> Evidence:
        """Some embedded rows as a derived rule sees them: it reads columns, and of vectors only that they are there."""
        names = [name for name in self._dataset.schema.names if name != "vector"]
        return Evidence(self.rows(places, names), np.zeros((len(places), 1)), _no_texts)

    def _chunks(self, column: str) -> Iterator[pa.Array]:
        assert self._new is not None
        whole = self._new.column(column).combine_chunks()
        whole = whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole
        for at in range(0, len(whole), _BLOCK):
            yield whole.slice(at, _BLOCK)

    def _column(self, name: str) -> pa.Array:
        column = self._rows.column(name)
        return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

    def _moments(self) -> pa.Array:
        if not self.by_first_seen:
            return self._column("source_modified")
        seen = self._column("first_seen_at") if "first_seen_at" in self._rows.column_names else None
        if seen is not None and not seen.null_count:
            return seen
        # Rows from before the column, which a rewrite leaves as they are.
        columns = [name for name in FIRST_SEEN_COLUMNS if name in self._dataset.schema.names]
        rows = self._dataset.to_table(columns=columns)
        if self._new is not None:
            rows = pa.concat_tables([rows, self._new.select(columns).cast(rows.schema)])
        if "first_seen_at" not in columns:
            rows = rows.append_column("first_seen_at", pa.nulls(len(rows), TIME))
        return first_seen_column(rows)


def _codes(reasons: pa.Array, failed: pa.Array) -> tuple[pa.Array, pa.Array]:
    """The code of each failed row, and `source_deleted` of each row that it stands in."""
    texts = reasons.flatten()
    parents = pc.list_parent_indices(reasons)
    rows = len(reasons)
    codes, standing = np.full(rows, None, object), np.full(rows, None, object)
    is_code = failed.take(parents).to_numpy(zero_copy_only=False)
    codes[parents.to_numpy()[is_code]] = texts.filter(pa.array(is_code)).to_numpy(zero_copy_only=False)
    stands = pc.equal(texts, SOURCE_DELETED).to_numpy(zero_copy_only=False) & ~is_code
    standing[parents.to_numpy()[stands]] = SOURCE_DELETED
    return pa.array(codes, pa.string()), pa.array(standing, pa.string())


def _no_texts(texts: list[str]) -> Floats:
    raise AssertionError("a derived rule asked for texts")
