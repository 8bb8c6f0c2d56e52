"""Retrieval overlap: how alike the neighbourhoods are in which two encoders place the same images."""

from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.database import closed_database
from clipflow.policy.vectors import Matrix, unit_vectors
from clipflow.query.sql import readable
from clipflow.table.address import TableAddress
from clipflow.table.images import open_images

K = 10
QUERIES, ROWS = 200, 20_000


def retrieval_overlap(old: TableAddress, version: int, new: TableAddress) -> dict[str, Any]:
    """{k, queries, rows, overlap}: of the k nearest neighbours of a row by cosine, the mean share common to both.

    Neighbours are looked for among the same rows on both sides: those that both tables hold with a vector of equal
    bytes, at most `ROWS`. image_ids are hashes, so the first ones are a sample by chance, and the same one each time.
    A row is no neighbour of itself. `overlap` is None where there are no two rows.

    Args:
        version: The old table's.
    """
    with closed_database() as db:
        for name, table in (("old", readable(old, version)), ("new", readable(new))):
            db.register(name, table)
        shared = db.sql(f"""
            SELECT image_id FROM (SELECT image_id, content_sha256 FROM old WHERE status <> 'failed')
            SEMI JOIN (SELECT image_id, content_sha256 FROM new WHERE status <> 'failed')
            USING (image_id, content_sha256) ORDER BY image_id LIMIT {ROWS}
        """).to_arrow_table()
    ids = shared.column("image_id").combine_chunks()
    k = min(K, len(ids) - 1)
    if k < 1:
        return {"k": K, "queries": 0, "rows": len(ids), "overlap": None}
    sides = [_vectors(table, ids) for table in (open_images(old, version), open_images(new))]
    queries = np.linspace(0, len(ids) - 1, min(QUERIES, len(ids))).astype(int)
    nearest = [_nearest(vectors, queries, k) for vectors in sides]
    common = [len(np.intersect1d(*pair)) / k for pair in zip(*nearest, strict=True)]
    return {"k": k, "queries": len(queries), "rows": len(ids), "overlap": round(float(np.mean(common)), 4)}


def _vectors(dataset: lance.LanceDataset, ids: pa.Array) -> Matrix:
    """Unit vectors in the order of the ids."""
    found = dataset.to_table(columns=["image_id", "vector"], filter=pc.field("image_id").isin(ids))
    found = found.take(pc.index_in(ids, found.column("image_id").combine_chunks()))
    return unit_vectors(found.column("vector").combine_chunks())


def _nearest(vectors: Matrix, queries: np.ndarray, k: int) -> np.ndarray:
    """Places of the k nearest rows of each query, int [queries, k], in no order."""
    similar = vectors[queries] @ vectors.T
    similar[np.arange(len(queries)), queries] = -np.inf
    found: np.ndarray = np.argpartition(-similar, k - 1, axis=1)[:, :k]
    return found
