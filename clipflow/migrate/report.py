"""What `clipflow migrate` did, in the words of the contract."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from clipflow.schema import COUNTS, VERDICTS

INCOMPARABLE = (
    "Scores of the two tables are not comparable: each encoder has cosines, probabilities and distances of its own, "
    "so a threshold of one says nothing about the other."
)


@dataclass
class Migration:
    """Both tables, and what went over.

    Attributes:
        table: The new table.
        version: Its version afterwards, and `from_version` before; None while there is no such table.
        from_table: The old table.
        intervals: Calendar months of `source_modified` that were looked at.
        listed: Rows of the old table that were looked at; the next five counts add up to it.
        unchanged: Rows that the new table held already.
        withdrawn: Rows left out because the old table says that their object is gone.
        left: Rows that the new table lacks yet, as `limit` stopped the call; readers see the old table until it is 0.
        reviews: Rows that took over a human's verdict, or its withdrawal, in this call.
        reviews_left: Reviewed rows whose bytes the new table does not hold under their address.
        tombstones: Forgotten addresses and bytes that were handed over in this call.
        switched: Whether readers of the old table see the new one.
        retrieval: See `overlap.retrieval_overlap`; None before the switch.
    """

    table: str
    version: int | None
    from_table: str
    from_encoder_id: str
    encoder_id: str
    policy_id: str
    run_id: str
    from_version: int | None = None
    intervals: int = 0
    listed: int = 0
    unchanged: int = 0
    reused: int = 0
    embedded: int = 0
    failed: int = 0
    forgotten: int = 0
    withdrawn: int = 0
    left: int = 0
    reviews: int = 0
    reviews_left: int = 0
    tombstones: int = 0
    accepted: int = 0
    review: int = 0
    rejected: int = 0
    switched: bool = False
    retrieval: dict[str, Any] | None = None
    incomparable: str = INCOMPARABLE
    seconds: dict[str, float] = field(default_factory=dict)

    def count(self, run: Mapping[str, Any]) -> None:
        """Take over the counts of one run; `listed` without the rows that were not given to it."""
        for name in (*COUNTS, *VERDICTS):
            setattr(self, name, getattr(self, name) + run[name])
        self.version = run["version"]

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow migrate --json`."""
        return asdict(self)

    def text(self) -> str:
        """As a few lines for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        counts = ", ".join(f"{getattr(self, name)} {name}" for name in COUNTS[1:])
        yield f"{self.listed} rows in {self.intervals} months: {counts}"
        if self.withdrawn:
            yield f"{self.withdrawn} rows left out: their object is gone"
        yield f"{self.reviews} reviews and {self.tombstones} tombstones handed over"
        if self.reviews_left:
            yield f"{self.reviews_left} reviews stay behind: the new table does not hold those bytes"
        if self.retrieval is not None:
            yield self._overlap(self.retrieval)
        yield self.incomparable
        if self.switched:
            yield f"readers of {self.from_table} see the new table now"
        else:
            yield f"{self.left} rows are left; readers see the old table until a further call has done them"
        yield f"table {self.table}, version {self.version}"

    def _overlap(self, found: Mapping[str, Any]) -> str:
        if found["overlap"] is None:
            return "retrieval overlap: too few rows are in both tables"
        return (
            f"retrieval overlap@{found['k']}: {found['overlap']:.3f} of the nearest neighbours are common to both "
            f"({found['queries']} queries among {found['rows']} rows)"
        )
