"""Indexes: those worth having are built once the table is large enough, and every one there is follows new rows.

`clipflow search` is exact and uses none; they are for look-ups of known bytes, and for other readers of the table.
There is none on `image_id`: it would spare a scan of 40 ms in a million rows, and takes from `merge_insert`, which
others might use, what the key's metadata gives it.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lance

from clipflow.errors import first_line
from clipflow.faults import failure_kind
from clipflow.table.address import TableAddress
from clipflow.table.persist import is_conflict, persist

log = logging.getLogger("clipflow")

VECTOR_KIND = "IVF_PQ"
_ROWS_PER_PARTITION = 8192
_OUTGROWN = 4
_CODEBOOK = 256
_ROW_ID = 8


@dataclass(frozen=True)
class Wanted:
    """An index worth having.

    Attributes:
        column: What it is on.
        kind: Lance's name of it.
        rows: From how many embedded rows on; below, scanning is as fast.
    """

    column: str
    kind: str
    rows: int

    @property
    def name(self) -> str:
        """As Lance and LanceDB name it by default."""
        return f"{self.column}_idx"


WANTED = (Wanted("content_sha256", "BTREE", 100_000), Wanted("vector", VECTOR_KIND, 250_000))


def index_bytes(rows: int, dim: int) -> int:
    """About what the wanted indexes take at so many rows: keys, codes and row ids; pages and centroids come on top."""
    each = {"content_sha256": 64 + _ROW_ID, "vector": dim // _part(dim) + _ROW_ID}
    return sum(rows * each[index.column] for index in WANTED if rows >= index.rows)


def _part(dim: int) -> int:
    """How many numbers of a vector become one byte."""
    return next(size for size in (8, 16, 4, 2, 1) if dim % size == 0)


@dataclass
class Index:
    """What is, or was, to do for one index.

    Attributes:
        action: `build`, `rebuild` (the table outgrew it), `extend` (new rows) or `none`.
        rows: Rows to take in.
        error: Why it was not done; the table is whole without it.
    """

    name: str
    column: str
    kind: str
    action: str
    rows: int
    error: str | None = None

    def said(self, would: str = "") -> str:
        """What was done, or with `would` what is to do, for people."""
        if self.error:
            return f"failed: {self.error}"
        done = {"build": "built over", "rebuild": "built anew over", "extend": "extended by"}
        return f"{would}{done[self.action]} {self.rows} rows" if self.action in done else "up to date"


def due(dataset: lance.LanceDataset, wanted: Sequence[Wanted] = WANTED) -> list[Index]:
    """The indexes there are and those that are due, each with what is to do for it."""
    # A failed image has no vector. Asking the vectors themselves would read them all.
    embedded = dataset.count_rows("status <> 'failed'")
    ours = {index.name for index in wanted}
    found = [
        _state(dataset, index, embedded, index.name in ours)
        for index in dataset.describe_indices()
        if not index.name.startswith("__")
    ]
    there = {index.column for index in found}
    for index in wanted:
        if index.column not in there and embedded >= index.rows:
            found.append(Index(index.name, index.column, index.kind, "build", dataset.count_rows()))
    return found


def bring_up_to_date(address: TableAddress, wanted: Sequence[Wanted], before: Callable[[], None]) -> list[Index]:
    """Build and extend what is due, index by index: one that fails stops no other.

    Args:
        before: Called before each commit; may raise.
    """
    done: dict[str, Index] = {}

    def one(dataset: lance.LanceDataset) -> bool:
        now = due(dataset, wanted)
        for index in now:
            done.setdefault(index.name, index)
        waiting = [index for index in now if index.action != "none" and index.name not in tried]
        if not waiting:
            return False
        index = done[waiting[0].name] = waiting[0]
        before()
        try:
            _apply(dataset, index)
        except (ValueError, RuntimeError) as error:
            if is_conflict(error) or failure_kind(error):
                raise
            index.error = first_line(error)
            log.warning("index: %s failed: %s", index.name, index.error)
        tried.add(index.name)
        return True

    tried: set[str] = set()
    while persist(address, address.images, one):
        pass
    return list(done.values())


def _apply(dataset: lance.LanceDataset, index: Index) -> None:
    log.info("index: %s %s, %d rows", index.action, index.name, index.rows)
    if index.action == "extend":
        segments = next(len(there.segments) for there in dataset.describe_indices() if there.name == index.name)
        # All of them into one: else every call leaves one more to ask.
        dataset.optimize.optimize_indices(index_names=[index.name], num_indices_to_merge=segments)
    elif index.kind == VECTOR_KIND:
        width = dataset.schema.field(index.column).type.list_size
        dataset.create_index(
            index.column, VECTOR_KIND, index.name, metric="cosine", num_sub_vectors=width // _part(width), replace=True
        )
    else:
        kind: Any = index.kind
        dataset.create_scalar_index(index.column, kind, index.name)


def _state(dataset: lance.LanceDataset, index: Any, embedded: int, ours: bool) -> Index:
    covered = {fragment for segment in index.segments for fragment in segment.fragment_ids}
    rows = sum(one.count_rows() for one in dataset.get_fragments() if one.fragment_id not in covered)
    # With fewer rows than a codebook has entries Lance leaves an index without any.
    action = "extend" if rows and (covered or embedded >= _CODEBOOK) else "none"
    if ours and index.index_type == VECTOR_KIND:
        fit = _OUTGROWN * _ROWS_PER_PARTITION * _partitions(dataset, index.name)
        if embedded > fit:
            action, rows = "rebuild", embedded
    return Index(index.name, ", ".join(index.field_names), index.index_type, action, rows)


def _partitions(dataset: lance.LanceDataset, name: str) -> int:
    # What Lance's next release does; until then it warns on every call, and lists all centroids.
    os.environ.setdefault("LANCE_INCLUDE_VECTOR_CENTROIDS", "false")
    partitions: int = dataset.stats.index_stats(name)["segments"][0].get("num_partitions", 1)
    return partitions
