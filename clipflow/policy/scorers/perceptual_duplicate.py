"""Nearly the same picture, by its perceptual hash."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipflow.policy.scorers.pairwise import Pairwise

_BITS = 64


class PerceptualDuplicate(Pairwise):
    """1 - Hamming distance of the 64 bits of pHash / 64, to the most similar earlier row."""

    item = "phash"

    def items(self, column: pa.Array) -> npt.NDArray[Any]:
        """uint64 [N]."""
        return np.fromiter((int(text, 16) if text else 0 for text in column.to_pylist()), np.uint64, len(column))

    def similarity(self, left: npt.NDArray[Any], right: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """float64 [L, R]."""
        return np.asarray(1 - np.bitwise_count(left[:, None] ^ right[None, :]) / _BITS)
