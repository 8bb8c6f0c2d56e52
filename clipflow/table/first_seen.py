"""Since when bytes are known under an address: what tells an original from its copies."""

from collections.abc import Mapping
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.table.dataset import metadata

ORDER, BY_FIRST_SEEN = "duplicates_order", "first_seen_at"
"""The key of a table's metadata, and its value where originals are told by `first_seen_at`.

Tables from before the column tell them by `source_modified`, until `clipflow judge` gives them this order.
"""


def first_seen(row: Mapping[str, Any]) -> Any:
    """Since when, of one row; older rows say it by the bucket's own time, or by when they were embedded."""
    if row["first_seen_at"] is not None:
        return row["first_seen_at"]
    in_bucket = row["source_uri"].startswith("s3://")
    return (row["source_modified"] if in_bucket else None) or row["embedded_at"]


def first_seen_column(rows: pa.Table) -> pa.Array:
    """The same of many rows, with the columns that it reads: see `FIRST_SEEN_COLUMNS`."""
    by_bucket = pc.if_else(pc.starts_with(rows.column("source_uri"), "s3://"), rows.column("source_modified"), None)
    found = pc.coalesce(rows.column("first_seen_at"), by_bucket, rows.column("embedded_at"))
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


FIRST_SEEN_COLUMNS = ("first_seen_at", "source_uri", "source_modified", "embedded_at")


def is_by_first_seen(dataset: lance.LanceDataset) -> bool:
    """Whether the originals of a table are told by `first_seen_at`."""
    return metadata(dataset).get(ORDER) == BY_FIRST_SEEN


def ranks(moments: pa.Array, image_ids: pa.Array) -> np.ndarray:
    """int64 [N]: the place of each of N rows in the order (moment, image_id), nulls first; smaller is earlier."""
    keys = pa.table({"moment": moments, "image_id": image_ids})
    by = [("moment", "ascending", "at_start"), ("image_id", "ascending", "at_start")]
    order = pc.sort_indices(keys, sort_keys=by).to_numpy()
    found = np.empty(len(keys), np.int64)
    found[order] = np.arange(len(keys))
    return found
