"""Nearly the same vector."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipflow.policy.scorers.pairwise import Pairwise


class NearDuplicate(Pairwise):
    """Cosine to the most similar earlier row, of the vectors as stored; exact, no index is asked."""

    item = "vector"

    def items(self, column: pa.Array) -> npt.NDArray[Any]:
        """float64 [N, dim] of length 1; zeros for nulls."""
        return unit_vectors(column)

    def similarity(self, left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """float64 [L, R]."""
        product: npt.NDArray[np.float64] = left @ right.T
        return product


def unit_vectors(column: pa.Array) -> npt.NDArray[np.float64]:
    """Stored vectors [N], which are only nearly of length one, as float64 [N, dim] that are; nulls become zeros."""
    width = column.type.list_size
    there = column.is_valid().to_numpy(zero_copy_only=False)
    found = np.zeros((len(column), width))
    found[there] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: npt.NDArray[np.float64] = np.divide(found, lengths, out=found, where=lengths > 0)
    return unit
