"""What runs in Ray's workers: the stages, each in the dress that Ray Data wants."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pyarrow as pa

from clipflow.assignment import Assignment

Stage: TypeAlias = Callable[[pa.Table], Iterator[pa.Table]]


class Actor(ABC):
    """A stage made on its first block: what fails there reaches the driver as it is, not as a dead actor.

    Args:
        counter: Told how many images were embedded; None where none are.
    """

    def __init__(self, assignment: Assignment, counter: Any = None) -> None:
        self._given, self._counter = assignment, counter
        self._stage: Stage | None = None

    @abstractmethod
    def make(self) -> Stage:
        """The stage."""

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """A block in, its batches out as they are done."""
        if self._stage is None:
            self._stage = self.make()
        for done in self._stage(rows):
            if self._counter is not None:
                self._counter.add.remote(len(done))
            yield done


class Fused(Actor):
    """fetch ▸ decode ▸ embed ▸ score ▸ judge in one actor."""

    def make(self) -> Stage:
        """Prepare, then embed."""
        from clipflow.stages import Embed, Prepare, batches, overlapped

        prepare, embed = Prepare(self._given), Embed(self._given, "cpu")
        return lambda work: overlapped(batches([work]), prepare, embed, 1)


class Preparing(Actor):
    """fetch ▸ decode."""

    def make(self) -> Stage:
        """Work in, rows with uint8 pixels out."""
        from clipflow.stages import Prepare, batches, overlapped

        prepare = Prepare(self._given)
        return lambda work: overlapped(batches([work]), prepare, lambda rows: rows, 1)


class Embedding(Actor):
    """embed ▸ score ▸ judge on a GPU (not measured here: tested with logical GPUs, which compute on the CPU)."""

    def make(self) -> Stage:
        """Rows with pixels in, judged rows out."""
        from clipflow.stages import Embed

        embed = Embed(self._given)
        return lambda rows: iter([embed(rows)])


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
