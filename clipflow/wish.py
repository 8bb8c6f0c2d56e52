"""A wish: what one run, or one plan, is to do beyond what its job says."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa

from clipflow.decode.revision import CHANGED_IN
from clipflow.errors import SourceEmpty, UsageError
from clipflow.failures import CODES
from clipflow.spec import JobSpec, SourceSpec
from clipflow.subtract import Again
from clipflow.uri import shown


@dataclass(frozen=True)
class Wish:
    """Nothing, unless told otherwise.

    Attributes:
        again: What is done again that would be left as it is.
        reconcile: List all that the source ever lists, whatever its window and interval, and withdraw the rows whose
            objects are gone.
        fail_on_empty: Nothing listed is an error.
        amend: Changes batches of the listing on their way.
    """

    again: Again = field(default_factory=Again)
    reconcile: bool = False
    fail_on_empty: bool = False
    amend: Callable[[pa.RecordBatch], pa.RecordBatch] | None = None

    @classmethod
    def of(
        cls,
        *,
        retry: Collection[str] = (),
        redecode: Collection[str] = (),
        reconcile: bool = False,
        fail_on_empty: bool = False,
    ) -> Self:
        """From words.

        Args:
            retry: Failure codes.
            redecode: Formats, such as `bmp`.

        Raises:
            UsageError: No such code, or no such format.
        """
        if unknown := sorted(set(retry) - CODES):
            raise UsageError(f"{unknown[0]!r} is no failure code.", f"Codes: {', '.join(sorted(CODES))}.")
        formats = {name.removeprefix("image/"): name for name in sorted(CHANGED_IN)}
        if unknown := sorted(set(redecode) - formats.keys()):
            raise UsageError(
                f"{unknown[0]!r} is no format that an older decoder read otherwise.", f"Formats: {', '.join(formats)}."
            )
        again = Again(frozenset(retry), frozenset(formats[name] for name in redecode))
        return cls(again, reconcile, fail_on_empty)

    def applied(self, spec: JobSpec) -> JobSpec:
        """The job as the wish changes it."""
        if not self.reconcile:
            return spec
        return spec.model_copy(update={"source": spec.source.model_copy(update={"deleted": "reject"})})

    def check(self, listed: int, source: SourceSpec) -> None:
        """Raises SourceEmpty when nothing was listed, and that is no good."""
        if self.fail_on_empty and not listed:
            raise SourceEmpty(
                f"{shown(source.uri)} lists no image.",
                "Look whether it is there and mounted, and whether the prefix and the interval are right.",
            )

    def document(self) -> dict[str, Any]:
        """What the runs table says of it; empty for no wish."""
        said = {
            "retry": sorted(self.again.codes),
            "redecode": sorted(self.again.media_types),
            "reconcile": self.reconcile,
            "fail_on_empty": self.fail_on_empty,
        }
        return {key: value for key, value in said.items() if value}
