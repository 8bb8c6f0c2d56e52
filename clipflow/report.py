"""What a run did, or would do, in the words of the contract. Importing this costs no torch, ray or lance."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from clipflow.errors import TooManyFailed
from clipflow.failures import CODES, PASSING
from clipflow.schema import COUNTS, VERDICTS

if TYPE_CHECKING:
    from clipflow.subtract import Subtraction
    from clipflow.table.decision import Landed
    from clipflow.table.stage import Receipt

CLOCKS = ("list", "fetch", "decode", "embed", "score", "stage", "commit", "total")


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        version: The images table's version now; None when there is no table.
        to_fetch: Images that need work, whether bytes are fetched or only the row is refreshed.
        gone: Rows that the run would withdraw.
        encoder: The encoder's card.
        graph: Where the stages will lie, see `engine.graph`; None when there is nothing to embed.
    """

    table: str
    version: int | None
    listed: int
    repeated: int
    unchanged: int
    forgotten: int
    to_fetch: int
    bytes: int
    gone: int
    encoder: dict[str, Any]
    graph: dict[str, Any] | None = None

    @classmethod
    def of(
        cls,
        left: "Subtraction",
        table: str,
        version: int | None,
        encoder: dict[str, Any],
        graph: dict[str, Any] | None = None,
    ) -> Self:
        """From what subtract found."""
        counts = ("listed", "repeated", "unchanged", "forgotten", "to_fetch", "bytes", "gone")
        found: dict[str, Any] = {name: getattr(left, name) for name in counts}
        return cls(table=table, version=version, encoder=encoder, graph=graph, **found)

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow plan --json`."""
        return asdict(self)

    def text(self) -> str:
        """As a few lines for people."""
        card = self.encoder
        return (
            f"{self.listed} listed: {self.unchanged} unchanged, {self.forgotten} forgotten, {self.to_fetch} to fetch "
            f"({self.bytes / 1e6:.1f} MB)\nencoder {card['model']}, {card['dim']} dimensions, {card['encoder_id'][:12]}"
            f"\ntable {self.table}, version {self.version}" + (f"\n{self.graph['text']}" if self.graph else "")
        )


@dataclass
class RunReport:
    """Counts, verdicts, reasons and clocks of one run.

    Attributes:
        version: The images table's version after the run; None when there is no table.
        repeated: Lines of a manifest that named an image again.
        withdrawn: Rows rejected because their object is gone.
        precisions: What the workers computed in.
        seconds: Busy seconds by step, summed over workers; `total` is wall time.
    """

    run_id: str
    table: str = ""
    version: int | None = None
    repeated: int = 0
    withdrawn: int = 0
    precisions: set[str] = field(default_factory=set)
    outcomes: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    started: float = field(default_factory=perf_counter)

    def end(self) -> None:
        """Stop the clock of the whole."""
        self.seconds["total"] = perf_counter() - self.started

    @contextmanager
    def clock(self, step: str) -> Iterator[None]:
        """Add the time of a block to a step."""
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[step] += perf_counter() - started

    def count(self, left: "Subtraction") -> None:
        """Take over what subtract found."""
        self.repeated = left.repeated
        self.outcomes.update(listed=left.listed, unchanged=left.unchanged, forgotten=left.forgotten)

    def land(self, landed: "Landed", receipts: "Sequence[Receipt]") -> None:
        """Take over what a commit came to."""
        self.version = landed.version
        self.precisions.update(*(receipt.precisions for receipt in receipts))
        self.outcomes += landed.outcomes
        self.statuses += landed.statuses
        self.reasons += landed.reasons
        for receipt in receipts:
            for step, seconds in receipt.seconds.items():
                self.seconds[step] += seconds

    def check(self, max_failed_share: float) -> None:
        """Raises TooManyFailed when more images failed than the job allows."""
        if self.failed_share > max_failed_share:
            codes = ", ".join(f"{code} {n}" for code, n in sorted(self.reasons.items()) if code in CODES)
            raise TooManyFailed(
                f"{self.outcomes['failed']} of {self.worked} images failed ({codes}), "
                f"more than limits.max_failed_share {max_failed_share:g} allows; the others are committed.",
                "Look at `select source_uri, reasons from images where status = 'failed'`, or raise the limit.",
                passing=any(self.reasons[code] for code in PASSING),
            )

    @property
    def counts(self) -> dict[str, int]:
        """The six counts; the last five add up to the first."""
        return {name: self.outcomes[name] for name in COUNTS}

    @property
    def worked(self) -> int:
        """Images that were not merely looked at."""
        return self.outcomes["reused"] + self.outcomes["embedded"] + self.outcomes["failed"]

    @property
    def failed_share(self) -> float:
        """Failed images among those that were worked on; 0 when there were none."""
        return self.outcomes["failed"] / self.worked if self.worked else 0.0

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow run --json`."""
        total = self.seconds["total"]
        return {
            "run_id": self.run_id,
            "table": self.table,
            "version": self.version,
            **self.counts,
            "repeated": self.repeated,
            "withdrawn": self.withdrawn,
            **{name: self.statuses[name] for name in VERDICTS},
            "reasons": dict(sorted(self.reasons.items())),
            "seconds": {clock: round(self.seconds[clock], 3) for clock in CLOCKS},
            "images_per_second": round(self.worked / total, 2) if total else 0.0,
        }

    def text(self) -> str:
        """As a few lines for people."""
        return "\n".join(describe_run(self.document()))


def describe_run(document: Mapping[str, Any]) -> Iterator[str]:
    """A run's JSON document as lines for people."""
    counts = ", ".join(f"{document[name]} {name}" for name in COUNTS[1:])
    yield f"{document['listed']} listed: {counts}"
    if document["repeated"]:
        yield f"{document['repeated']} lines of the manifest named an image again"
    if document["withdrawn"]:
        yield f"{document['withdrawn']} rows withdrawn: their object is gone"
    yield "verdicts: " + ", ".join(f"{document[name]} {name}" for name in VERDICTS)
    if document["reasons"]:
        yield "reasons: " + ", ".join(f"{name} {count}" for name, count in document["reasons"].items())
    seconds = document["seconds"]
    busy = ", ".join(f"{clock} {seconds[clock]:.1f}" for clock in CLOCKS[:-1])
    yield f"{seconds['total']:.1f} s, {document['images_per_second']:.1f} images/s (busy seconds: {busy})"
    yield f"table {document['table']}, version {document['version']}"
