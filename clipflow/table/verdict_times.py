"""When verdicts moved: `judged_at` with every new computation, `status_at` only with the status itself."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from clipflow.columns import with_columns
from clipflow.schema import TIME

TIMES = ("status", "status_at", "judged_at")
"""What `status_times` reads of the rows as they were."""


def with_verdict(
    rows: pa.Table,
    status: pa.Array | Sequence[Any],
    reasons: pa.Array | Sequence[Any],
    at: datetime | None = None,
) -> pa.Table:
    """Copies of rows with another verdict, given at a moment; a row whose verdict is what it was keeps its times."""
    status, reasons = _array(status, pa.string()), _array(reasons, pa.list_(pa.string()))
    at = at or datetime.now(UTC)
    now = pa.scalar(at, TIME)
    joined = [pc.binary_join(one, ",").fill_null("") for one in (rows.column("reasons"), reasons)]
    same = pc.and_(pc.equal(rows.column("status"), status).fill_null(False), pc.equal(*joined))
    times = {"status_at": status_times(rows, status, at), "judged_at": pc.if_else(same, rows.column("judged_at"), now)}
    return with_columns(rows, {"status": status, "reasons": reasons, **{k: _flat(v) for k, v in times.items()}})


def status_times(before: pa.Table, status: pa.Array, at: datetime | None = None) -> pa.Array:
    """Since when N rows have a status, given what they had before; of older rows `judged_at` says when that was."""
    then = pc.coalesce(*(before.column(name).cast(TIME) for name in ("status_at", "judged_at")))
    same = pc.equal(before.column("status"), status).fill_null(False)
    return _flat(pc.if_else(same, then, pa.scalar(at or datetime.now(UTC), TIME)))


def _array(values: pa.Array | Sequence[Any], kind: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)


def _flat(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
