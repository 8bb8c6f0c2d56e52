"""The same bytes under an earlier name."""

import numpy as np
import pyarrow as pa

from clipflow.policy.scorers.duplicate import NOBODY, Asked, Best, Duplicate, Rows
from clipflow.spec import Rule


class ExactDuplicate(Duplicate):
    """1 where an earlier row has the same bytes (content_sha256), else 0."""

    item = "content_sha256"

    def compare(self, rule: Rule, rows: Rows, asked: Asked, best: Best) -> None:
        """All rows at once: grouping by content is cheaper than knowing what changed."""
        contents = pa.chunked_array([block for _, block in rows.blocks(self.item)], pa.string())
        codes = contents.dictionary_encode().combine_chunks().indices.fill_null(0).to_numpy(zero_copy_only=False)
        originals = np.flatnonzero(asked.eligible)
        # The earliest original of every content: of equal keys np.unique keeps the first.
        originals = originals[np.argsort(rows.rank[originals], kind="stable")]
        found, first = np.unique(codes[originals], return_index=True)
        earliest = np.full(codes.max(initial=0) + 1, NOBODY, np.int64)
        earliest[found] = originals[first]
        match = earliest[codes]
        doubles = rows.embedded & (match != NOBODY) & (rows.rank[match] < rows.rank)
        best.match[:] = np.where(doubles, match, NOBODY)
        best.score[:] = np.where(rows.embedded, doubles.astype(np.float32), np.nan)
