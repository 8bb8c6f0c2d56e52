"""The rows that a table holds under staged ids, found without looking through the table.

Planning saw every row of its version, so a staged row knows the one it is to replace by the row id, which Lance keeps
for as long as nobody replaces the row. What planning did not see was written since: that little is read once, as
versions come. So a commit costs what it changes and what others changed, and not what the table holds.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import lance
import pyarrow as pa
import pyarrow.compute as pc

Row = dict[str, Any]

_OTHERS = pa.schema([pa.field("image_id", pa.string()), pa.field("_rowid", pa.uint64())])


@dataclass(frozen=True)
class Planned:
    """How far a table was seen.

    Attributes:
        version: All rows that were created up to this version.
        deletions: The rows deleted in each fragment that was there, by its id; Lance gives out no id twice.
    """

    version: int = 0
    deletions: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, dataset: lance.LanceDataset) -> Self:
        """All that the dataset holds at its version."""
        parts = (fragment.metadata for fragment in dataset.get_fragments())
        return cls(int(dataset.version), {part.id: part.num_deletions for part in parts})

    @property
    def last_fragment(self) -> int:
        """The highest fragment id, -1 without fragments."""
        return max(self.deletions, default=-1)

    def leads_to(self, later: Self) -> bool:
        """Whether rows only came and went; a restored version, or a table made again, brings back what had gone."""
        last = self.last_fragment
        return later.version >= self.version and all(
            deleted >= self.deletions.get(part, deleted + 1)
            for part, deleted in later.deletions.items()
            if part <= last
        )


class Existing:
    """Of one run. Held is what others wrote since planning, some 50 bytes a row.

    Args:
        planned: What planning saw.
    """

    def __init__(self, planned: Planned) -> None:
        self._seen = planned
        self._others = _OTHERS.empty_table()

    def under(self, dataset: lance.LanceDataset, keys: pa.Table, columns: Sequence[str]) -> dict[str, Row]:
        """The table's rows under staged ids, by image_id, each with its `_rowaddr` and `_rowid`.

        Args:
            dataset: At its latest version.
            keys: image_id and prior_row_id of the staged rows.
            columns: What is read of the rows, image_id among it.
        """
        self._read_others(dataset)
        ids = keys.column("image_id")
        asked = keys.column("prior_row_id").drop_null().to_pylist()
        if len(self._others):
            written = self._others.filter(pc.is_in(self._others.column("image_id"), ids.combine_chunks()))
            asked += written.column("_rowid").to_pylist()
        if not asked:
            return {}
        rows = dataset.to_table(columns=list(columns), filter=among(asked), with_row_address=True, with_row_id=True)
        return {row["image_id"]: row for row in rows.to_pylist()}

    def committed(self, dataset: lance.LanceDataset, read_version: int) -> None:
        """Take note of the run's own commit: it knows its own rows by their places in its work.

        A commit whose answer was lost is not noted, so its rows are found like those of others.
        """
        if dataset.version == read_version + 1 == self._seen.version + 1:
            self._seen = Planned.of(dataset)

    def _read_others(self, dataset: lance.LanceDataset) -> None:
        """Rows written since; a copy of a planned row that somebody made has a row id of its own."""
        now = Planned.of(dataset)
        if not self._seen.leads_to(now):
            self._seen, self._others = Planned(), _OTHERS.empty_table()
        # Without naming the fragments Lance would look into all there are.
        last = self._seen.last_fragment
        fresh = [one for one in dataset.get_fragments() if one.fragment_id > last]
        if fresh:
            written = dataset.scanner(
                columns=["image_id"],
                filter=f"_row_created_at_version > {self._seen.version}",
                with_row_id=True,
                fragments=fresh,
            ).to_table()
            self._others = pa.concat_tables([self._others, written.select(_OTHERS.names).cast(_OTHERS)])
        self._seen = now


def among(row_ids: Collection[int]) -> str:
    """The condition that names rows by their ids."""
    return f"_rowid IN ({','.join(map(str, row_ids))})"
