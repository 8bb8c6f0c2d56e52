"""Keys that a run landed: the last net against a key that lands twice, for which planning gives no cause."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipflow.errors import StageError

_Halves = npt.NDArray[np.uint64]


class KeySet:
    """image_ids, by 8 bytes of each: two of a billion share them with a chance of one in forty."""

    def __init__(self) -> None:
        self._halves: _Halves = np.empty(0, np.uint64)

    def ensure_new(self, image_ids: pa.ChunkedArray) -> None:
        """Raises StageError when one of the ids stands there twice, or landed before."""
        halves = folded(image_ids)
        places = np.minimum(np.searchsorted(self._halves, halves), max(len(self._halves) - 1, 0))
        again = len(self._halves) and bool((self._halves[places] == halves).any())
        if again or len(np.unique(halves)) < len(halves):
            raise StageError(
                "One image came twice from one run, so its commit is refused. This is a defect of clipflow.",
                "Report it with the job file; what was committed before is sound.",
            )

    def add(self, image_ids: pa.ChunkedArray) -> None:
        """Take ids in."""
        self._halves = np.sort(np.concatenate([self._halves, folded(image_ids)]))


def folded(image_ids: pa.Array | pa.ChunkedArray) -> _Halves:
    """8 bytes that stand for each of N ids, uint64 [N]."""
    numbers = (int(key[:16], 16) ^ int(key[16:], 16) for key in image_ids.to_pylist())
    return np.fromiter(numbers, np.uint64, len(image_ids))
