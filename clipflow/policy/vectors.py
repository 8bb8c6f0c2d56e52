"""Stored vectors as matrices."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Matrix = npt.NDArray[np.float64]


def stored_vectors(column: pa.Array) -> Matrix:
    """A column of N vectors as float64 [N, dim], just as they are stored; NaN for nulls."""
    width = column.type.list_size
    there = column.is_valid().to_numpy(zero_copy_only=False)
    found = np.full((len(column), width), np.nan)
    found[there] = column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return found


def unit_vectors(column: pa.Array) -> Matrix:
    """A column of N vectors as float64 [N, dim] of length one, which stored ones only nearly are; zeros for nulls."""
    found = np.nan_to_num(stored_vectors(column), nan=0.0)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Matrix = np.divide(found, lengths, out=found, where=lengths > 0)
    return unit
