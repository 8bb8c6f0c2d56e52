"""Nearly the same vector."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipflow.policy.scorers.pairwise import Pairwise
from clipflow.policy.vectors import unit_vectors


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
