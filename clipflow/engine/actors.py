"""What runs in Ray's workers: the stages, each in the dress that Ray Data wants."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from clipflow.assignment import Assignment


class Actor(ABC):
    """A stage made on its first batch: what fails there reaches the driver as it is, not as a dead actor.

    Args:
        counter: Told how many images were embedded; None where none are.
    """

    def __init__(self, assignment: Assignment, counter: Any = None) -> None:
        self._given, self._counter = assignment, counter
        self._stage: Callable[[pa.Table], pa.Table] | None = None

    @abstractmethod
    def make(self) -> Callable[[pa.Table], pa.Table]:
        """The stage."""

    def __call__(self, rows: pa.Table) -> pa.Table:
        """A batch in, a batch out."""
        if self._stage is None:
            self._stage = self.make()
        done = self._stage(rows)
        if self._counter is not None:
            self._counter.add.remote(len(done))
        return done


class Fused(Actor):
    """fetch ▸ decode ▸ embed ▸ score ▸ judge in one actor."""

    def make(self) -> Callable[[pa.Table], pa.Table]:
        """Prepare, then embed."""
        from clipflow.stages import Embed, Prepare

        prepare, embed = Prepare(self._given), Embed(self._given, "cpu")
        return lambda work: embed(prepare(work))


class Preparing(Actor):
    """fetch ▸ decode."""

    def make(self) -> Callable[[pa.Table], pa.Table]:
        """Work in, rows with uint8 pixels out."""
        from clipflow.stages import Prepare

        return Prepare(self._given)


class Embedding(Actor):
    """embed ▸ score ▸ judge on a GPU (not measured here: tested with logical GPUs, which compute on the CPU)."""

    def make(self) -> Callable[[pa.Table], pa.Table]:
        """Rows with pixels in, judged rows out."""
        from clipflow.stages import Embed

        return Embed(self._given)


def staging(rows: pa.Table, assignment: Assignment) -> pa.Table:
    """Stage."""
    from clipflow.stages import Stage

    return Stage(assignment)(rows)


class Counter:
    """Images embedded so far, by all actors."""

    def __init__(self) -> None:
        self._images = 0

    def add(self, images: int) -> None:
        """Count."""
        self._images += images

    def total(self) -> int:
        """The sum."""
        return self._images
