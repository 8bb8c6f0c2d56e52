"""What a run did, or would do, in the words of the contract. Importing this costs no torch, ray or lance."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from clipflow.errors import TooManyFailed
from clipflow.failures import CODES, OF_THE_BYTES, PASSING
from clipflow.schema import COUNTS, VERDICTS

if TYPE_CHECKING:
    from clipflow.spec import Limits
    from clipflow.subtract import Subtraction
    from clipflow.table.decision import Landed
    from clipflow.table.stage import Receipt

SHOWN = 20
"""So many addresses of what is missing are named."""

# See `RunReport.check`.
_MANY, _SOME = 20, 3
_UNREACHED = ("forbidden", "network", "timeout")

CLOCKS = ("list", "fetch", "decode", "embed", "score", "stage", "commit", "total")


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Attributes:
        version: The images table's version now; None when there is no table.
        to_fetch: Images that need work, whether bytes are fetched or only the row is refreshed.
        excluded: Names left out of the listing, and folders that may not be read.
        gone: Rows that the run would withdraw.
        missing: Images whose rows stay though nothing is found there any more.
        warnings: What people should look at, in sentences.
        exclude: The patterns by which names are left out.
        encoder: The encoder's card.
        graph: Where the stages will lie, see `engine.graph`; None when there is nothing to embed.
    """

    table: str
    version: int | None
    listed: int
    repeated: int
    excluded: int
    unchanged: int
    forgotten: int
    to_fetch: int
    bytes: int
    gone: int
    missing: int
    warnings: list[str]
    exclude: list[str]
    encoder: dict[str, Any]
    graph: dict[str, Any] | None = None

    @classmethod
    def of(
        cls,
        left: "Subtraction",
        table: str,
        version: int | None,
        encoder: dict[str, Any],
        exclude: Sequence[str] = (),
        graph: dict[str, Any] | None = None,
    ) -> Self:
        """From what subtract found."""
        counts = ("listed", "repeated", "excluded", "unchanged", "forgotten", "to_fetch", "bytes", "gone", "missing")
        found: dict[str, Any] = {name: getattr(left, name) for name in (*counts, "warnings")}
        return cls(table=table, version=version, encoder=encoder, exclude=list(exclude), graph=graph, **found)

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow plan --json`."""
        return asdict(self)

    def text(self) -> str:
        """As a few lines for people."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        card = self.encoder
        yield (
            f"{self.listed} listed: {self.unchanged} unchanged, {self.forgotten} forgotten, {self.to_fetch} to fetch "
            f"({self.bytes / 1e6:.1f} MB)"
        )
        if self.excluded:
            yield f"{self.excluded} names excluded by source.exclude: {' '.join(self.exclude)}"
        if self.gone:
            yield f"{self.gone} rows to withdraw: their object is gone"
        if self.missing:
            yield f"{self.missing} images missing, their rows stay"
        yield from (f"warning: {sentence}" for sentence in self.warnings)
        yield f"encoder {card['model']}, {card['dim']} dimensions, {card['encoder_id'][:12]}"
        yield f"table {self.table}, version {self.version}"
        if self.graph:
            yield str(self.graph["text"])


@dataclass
class RunReport:
    """Counts, verdicts, reasons and clocks of one run.

    Attributes:
        version: The images table's version after the run; None when there is no table.
        repeated: Lines of a manifest that named an image again.
        excluded: Names left out of the listing, and folders that may not be read.
        withdrawn: Rows rejected because their object is gone.
        missing: Images whose rows stay though nothing is found there any more.
        missing_images: The addresses of some of them.
        not_found: Of those that were looked for in this run, the run that wrote each row, by image_id.
        excused: Failures that are no fault of the run: rows whose object is gone, and that were withdrawn for it.
        warnings: What people should look at, in sentences.
        precisions: What the workers computed in.
        seconds: Busy seconds by step, summed over workers; `total` is wall time.
    """

    run_id: str
    table: str = ""
    version: int | None = None
    repeated: int = 0
    excluded: int = 0
    withdrawn: int = 0
    gone: int = 0
    missing_images: list[str] = field(default_factory=list)
    not_found: dict[str, str] = field(default_factory=dict)
    excused: int = 0
    warnings: list[str] = field(default_factory=list)
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
        self.repeated, self.excluded = left.repeated, left.excluded
        self.gone, self.missing_images = left.missing, list(left.missing_images)
        self.warnings = list(left.warnings)
        self.outcomes.update(listed=left.listed, unchanged=left.unchanged, forgotten=left.forgotten)

    def land(self, landed: "Landed", receipts: "Sequence[Receipt]") -> None:
        """Take over what a commit came to."""
        self.version = landed.version
        self.precisions.update(*(receipt.precisions for receipt in receipts))
        self.outcomes += landed.outcomes
        self.statuses += landed.statuses
        self.reasons += landed.reasons
        self.not_found.update((key, run_id) for key, _, run_id in landed.missing)
        self.missing_images = [*self.missing_images, *(uri for _, uri, _ in landed.missing)][:SHOWN]
        for receipt in receipts:
            for step, seconds in receipt.seconds.items():
                self.seconds[step] += seconds

    def check(self, limits: "Limits") -> None:
        """Say that the run failed, where too many of its images did.

        Failures of a file's own bytes do not count, unless `fail_on: any`: a broken upload is no fault of the run.
        Whatever the codes, a run of many images that gave no vector at all failed, and so did one of a few that never
        reached its storage. `max_failed_share: 1` allows everything.

        Raises:
            TooManyFailed: They did.
        """
        exempt = frozenset() if limits.fail_on == "any" else OF_THE_BYTES
        count = sum(n for code, n in self.reasons.items() if code in CODES - exempt) - self.excused
        if limits.max_failed_share >= 1:
            return
        if self.worked >= limits.max_failed_from and count > limits.max_failed_share * self.worked:
            why = f"more than limits.max_failed_share {limits.max_failed_share:g} allows"
        elif self.worked - self.excused >= _MANY and not self.outcomes["embedded"] + self.outcomes["reused"]:
            why = "none got a vector"
        elif self.worked >= _SOME and sum(self.reasons[code] for code in _UNREACHED) == self.worked:
            why = "storage was not reached for any"
        else:
            return
        codes = ", ".join(f"{code} {n}" for code, n in sorted(self.reasons.items()) if code in CODES)
        passing = "', '".join(sorted(PASSING))
        failed = f"split_part(failed_under, '@', 1) IN ('{passing}')"
        raise TooManyFailed(
            f"{self.outcomes['failed']} of {self.worked} images failed ({codes}): {why}; the others are committed.",
            f"Look at `select source_uri, reasons, failed_under from images where status = 'failed' or {failed}`, "
            "mend the cause, or raise the limit.",
            passing=any(self.reasons[code] for code in PASSING),
        )

    @property
    def missing(self) -> int:
        """Images whose rows stay though nothing is found there any more."""
        return self.gone + len(self.not_found)

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
            "excluded": self.excluded,
            "withdrawn": self.withdrawn,
            "missing": self.missing,
            "missing_images": self.missing_images,
            "warnings": self.warnings,
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
        yield f"{document['repeated']} times an image was listed again"
    if document.get("excluded"):
        yield f"{document['excluded']} names excluded, see source.exclude"
    if document["withdrawn"]:
        yield f"{document['withdrawn']} rows withdrawn: their object is gone"
    if document.get("missing"):
        named = document["missing_images"]
        more = f" and {document['missing'] - len(named)} more" if document["missing"] > len(named) else ""
        yield f"{document['missing']} images missing, their rows stay: {', '.join(named)}{more}"
    yield from (f"warning: {sentence}" for sentence in document.get("warnings", ()))
    yield "verdicts: " + ", ".join(f"{document[name]} {name}" for name in VERDICTS)
    if document["reasons"]:
        yield "reasons: " + ", ".join(f"{name} {count}" for name, count in document["reasons"].items())
    seconds = document["seconds"]
    busy = ", ".join(f"{clock} {seconds[clock]:.1f}" for clock in CLOCKS[:-1])
    yield f"{seconds['total']:.1f} s, {document['images_per_second']:.1f} images/s (busy seconds: {busy})"
    yield f"table {document['table']}, version {document['version']}"
