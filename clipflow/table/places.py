"""Places in a run's work: which of its images have landed, one bit each."""

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]


class PlaceSet:
    """A set of places from 0 on; it grows as they come."""

    def __init__(self) -> None:
        self._bits = np.zeros(0, np.uint8)

    def holds(self, places: Places) -> Bools:
        """Bool [N]: which of N places are in it."""
        there = places < 8 * len(self._bits)
        found = np.zeros(len(places), bool)
        known = places[there]
        found[there] = (self._bits[known >> 3] >> (known & 7).astype(np.uint8)) & 1
        return found

    def add(self, places: Places) -> None:
        """Take places in."""
        if not len(places):
            return
        if (missing := int(places.max()) // 8 + 1 - len(self._bits)) > 0:
            # By halves more, so that growing costs little in all.
            self._bits = np.append(self._bits, np.zeros(missing + len(self._bits) // 2, np.uint8))
        np.bitwise_or.at(self._bits, places >> 3, (1 << (places & 7)).astype(np.uint8))


def firsts(places: Places) -> Bools:
    """Bool [N]: of N places those that stand for the first time."""
    found = np.zeros(len(places), bool)
    found[np.unique(places, return_index=True)[1]] = True
    return found
