"""Settling a commit: rows that come, and rows that they change something for, get what they come to together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.columns import with_columns, with_values
from clipflow.policy.check import match_columns
from clipflow.policy.judge import Bools
from clipflow.policy.scorers.base import Floats
from clipflow.policy.scorers.duplicate import NOBODY, Places
from clipflow.policy.settle import Settled, Start, has_duplicates, settle
from clipflow.spec import PolicySpec
from clipflow.table.address import TableAddress
from clipflow.table.census import Census
from clipflow.table.dataset import metadata
from clipflow.table.guard import Change
from clipflow.table.images import policy_of
from clipflow.table.stage import write_rows
from clipflow.table.verdict_times import TIMES, status_times

# The same number, computed in another order of sums, may differ in its last bits.
_SAME = 2e-7


@dataclass(frozen=True)
class Together:
    """Rows to write, and the addresses of rows that they stand for or that leave.

    Attributes:
        rows: Those that came, in their order, then others that changed.
        leaving: Row addresses.
        came: How many of the rows came.
    """

    rows: pa.Table
    leaving: Sequence[int]
    came: int


def settle_rows(
    dataset: lance.LanceDataset,
    policy: PolicySpec,
    prepared: Mapping[str, Any],
    coming: pa.Table,
    leaving: Collection[int],
) -> Together:
    """What a commit writes so that every row of the table is judged by the rows that are there after it.

    Args:
        coming: Rows with the columns of the table, judged but for duplicates.
        leaving: Row addresses that the commit removes.
    """
    census = Census(dataset, policy, coming, leaving)
    settled = settle(policy, prepared, census, Start.stored(policy, census))
    places = np.flatnonzero(differing(census, settled) & ~census.coming)
    came = np.arange(census.there, len(census))
    rows = _with_former_times(with_settled(coming, census, settled, came), census)
    if len(places):
        before = census.rows(places)
        others = with_settled(before, census, settled, places)
        others = with_values(others, "judged_at", [datetime.now(UTC)] * len(others))
        if "status_at" in others.column_names:
            others = with_values(others, "status_at", status_times(before, others.column("status")))
        rows = pa.concat_tables([rows, others.select(rows.column_names).cast(rows.schema)])
    return Together(rows, [*leaving, *census.addresses[places].tolist()], len(came))


def _with_former_times(rows: pa.Table, census: Census) -> pa.Table:
    """Rows that come in the place of others keep the time of their status, where it is what the other had."""
    places = np.flatnonzero(~census.present)
    # Tables of older versions get the column with the next run.
    if not len(places) or "status_at" not in rows.column_names:
        return rows
    before = census.rows(places, ["image_id", *TIMES])
    at = pc.index_in(rows.column("image_id"), before.column("image_id").combine_chunks())
    at = at.combine_chunks() if isinstance(at, pa.ChunkedArray) else at
    known = at.is_valid()
    then = status_times(before.take(at.fill_null(0)), rows.column("status"))
    return with_values(rows, "status_at", pc.if_else(known, then, rows.column("status_at").combine_chunks()))


def settled_change(
    address: TableAddress, dataset: lance.LanceDataset, coming: pa.Table, leaving: Sequence[int]
) -> Change:
    """The change that replaces rows by others, whoever asked for it, with all that follows from it.

    Args:
        coming: Rows with the columns of the table, each with the verdict of its own scores.
        leaving: Row addresses.
    """
    policy = policy_of(metadata(dataset))
    if has_duplicates(policy):
        together = settle_rows(dataset, policy, {}, coming, leaving)
        coming, leaving = together.rows, together.leaving
    return Change(write_rows(coming, address, dataset) if len(coming) else [], list(leaving))


def change_without(address: TableAddress, dataset: lance.LanceDataset, leaving: Sequence[int]) -> Change:
    """The change that removes rows: those that they were originals of are judged anew, and none names them any more.

    Args:
        leaving: Row addresses.
    """
    if not leaving:
        return Change()
    gone = pa.array(leaving, pa.uint64())
    keys = dataset.to_table(columns=["image_id"], with_row_address=True)
    keys = keys.filter(pc.is_in(keys.column("_rowaddr"), gone)).column("image_id").combine_chunks()
    # Columns of rules that the policy no longer has keep what they said.
    former = {name for name in dataset.schema.names if name.startswith("match_")}
    former -= set(match_columns(policy_of(metadata(dataset))))
    if not former:
        return settled_change(address, dataset, dataset.schema.empty_table(), leaving)
    naming = reduce(or_, (pc.field(name).isin(keys) for name in sorted(former)))
    rows = dataset.to_table(filter=naming, with_row_address=True)
    rows = rows.filter(pc.invert(pc.is_in(rows.column("_rowaddr"), gone)))
    for name in former:
        kept = pc.if_else(pc.is_in(rows.column(name), keys), None, rows.column(name))
        rows = with_values(rows, name, kept.combine_chunks())
    addresses = rows.column("_rowaddr").to_pylist()
    return settled_change(address, dataset, rows.drop_columns(["_rowaddr"]), [*leaving, *addresses])


def differing(census: Census, settled: Settled) -> Bools:
    """Bool [N]: rows that are there and not stored as they were settled."""
    verdicts = settled.verdicts
    differ = pc.not_equal(census.strings("status"), verdicts.status).fill_null(True).to_numpy(zero_copy_only=False)
    joined = [pc.binary_join(reasons, ",").fill_null("") for reasons in (census.reasons(), verdicts.reasons)]
    differ |= pc.not_equal(*joined).to_numpy(zero_copy_only=False)
    for name, values in settled.columns.items():
        differ |= ~np.isclose(census.floats(name), values, rtol=0, atol=_SAME, equal_nan=True)
    for rule, best in settled.best.items():
        stored, found = (one.fill_null("") for one in (census.strings(f"match_{rule}"), names(census, best.match)))
        differ |= pc.not_equal(stored, found).to_numpy(zero_copy_only=False)
    return np.asarray(differ & census.present)


def with_settled(rows: pa.Table, census: Census, settled: Settled, places: Places) -> pa.Table:
    """The rows at some places with status, reasons, scores and matches as they were settled."""
    return with_columns(rows, settled_columns(census, settled, places))


def settled_columns(census: Census, settled: Settled, places: Places) -> dict[str, pa.Array]:
    """Status, reasons, scores and matches of the rows at some places."""
    taken = pa.array(places)
    columns = {"status": settled.verdicts.status.take(taken), "reasons": settled.verdicts.reasons.take(taken)}
    for name, values in settled.columns.items():
        if name.startswith("score_"):
            columns[name] = nullable(values[places])
    return columns | {f"match_{rule}": names(census, best.match[places]) for rule, best in settled.best.items()}


def nullable(values: Floats) -> pa.Array:
    """float32 with nulls for NaN."""
    return pa.array(values, pa.float32(), from_pandas=True)


def names(census: Census, places: Places) -> pa.Array:
    """The image_ids at some places; null for NOBODY."""
    return census.image_id.take(pa.array(places, mask=places == NOBODY))
