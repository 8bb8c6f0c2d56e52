"""The arithmetic: work, workers and rates become hours, requests, bytes and commits. Nothing is read or measured here.

Workers go at their rates all the while, and whatever is slowest among them, the store, the network and the driver
decides; listing comes before, and starting too.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from clipflow.engine import FRAGMENT_ROWS
from clipflow.errors import UsageError
from clipflow.estimate.rates import DEFAULTS, UNITS, Rates, document
from clipflow.pipeline import AT_MOST_SECONDS
from clipflow.table.indexes import index_bytes

LIST_PAGE = 1_000
"""Objects that S3 names in one answer to LIST (ListObjectsV2, `MaxKeys`)."""


@dataclass(frozen=True)
class Work:
    """What planning found.

    Attributes:
        listed: Images.
        rows: Images that need work: each is a row to write.
        replaced: Those of them that have a row already.
        gets: Those of them whose bytes are fetched.
        sized_bytes: Sum of the sizes that the listing says, of images to fetch.
        unsized: Images to fetch whose size the listing does not say.
        list_seconds: What listing and subtracting took.
        table_rows, table_bytes: What the table holds now.
        dim: Numbers of a vector.
        commit_rows: As in the job.
    """

    listed: int
    rows: int
    gets: int
    sized_bytes: int
    list_seconds: float
    dim: int
    commit_rows: int
    replaced: int = 0
    unsized: int = 0
    table_rows: int = 0
    table_bytes: int = 0


@dataclass(frozen=True)
class Workers:
    """Who does it.

    Attributes:
        encoders: That embed at the same time.
        gpus_per_encoder: 0 where CPU workers do all of it.
        preparers: CPU workers that fetch and decode for GPUs.
    """

    encoders: int
    gpus_per_encoder: float = 0.0
    preparers: int = 0

    @property
    def cpus(self) -> int:
        """CPU workers."""
        return self.preparers if self.gpus_per_encoder else self.encoders

    @property
    def gpus(self) -> float:
        """GPUs."""
        return self.encoders * self.gpus_per_encoder


@dataclass(frozen=True)
class Estimate:
    """What a run will cost.

    Attributes:
        seconds: By step, had it nothing to wait for; `total` is the whole run by the clock.
        limit: The step that decides.
        hours: Of the whole run.
        gpu_hours, cpu_hours: Of GPUs and of CPU workers, reserved for the whole run.
        lists: LIST requests, on S3.
        gets: GET requests for images, without those tried again.
        bytes: Of images.
        rows, rows_added: Rows to write, and rows that the table has more afterwards.
        commits: Versions of the images table.
        table_bytes, added_bytes: Data files of the table afterwards, and of the new rows.
        index_bytes: Of the indexes that `clipflow maintain` builds at that size; a formula, not measured.
        rates: That went into it.
    """

    seconds: dict[str, float]
    limit: str
    hours: float
    gpu_hours: float
    cpu_hours: float
    lists: int
    gets: int
    bytes: int
    rows: int
    rows_added: int
    commits: int
    table_bytes: int
    added_bytes: int
    index_bytes: int
    workers: Workers
    rates: Rates

    def text(self) -> str:
        """As a few lines for people."""
        if not self.rows:
            return "estimate: nothing to embed"
        who = f"{self.workers.cpus} CPU workers"
        if self.workers.gpus:
            who += f" and {self.workers.encoders} encoders on {self.workers.gpus:g} GPUs"
        hours = f"{self.hours:.3g} hours, {self.gpu_hours:.3g} GPU-hours, {self.cpu_hours:.3g} CPU-hours"
        steps = ", ".join(f"{name} {spent:.3g} s" for name, spent in self.seconds.items())
        lines = [
            f"estimate: {hours} ({who})",
            f"  {steps}; {self.limit} decides",
            f"  {self.gets} GETs, {self.lists} LISTs if on S3, {self.bytes / 1e6:.1f} MB to fetch",
            f"  {self.rows} rows, {self.rows_added} of them new, in {self.commits} commits",
            f"  the table's data grow by {self.added_bytes / 1e6:.1f} MB to {self.table_bytes / 1e6:.1f} MB, "
            f"indexes about {self.index_bytes / 1e6:.1f} MB",
        ]
        lines += [f"  {name} {rate.value:.6g} ({rate.source})" for name, rate in sorted(self.rates.items())]
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """As plain data, under `estimate` in the JSON of `clipflow plan --estimate --json`."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("rates", "workers")}
        return {**plain, "workers": asdict(self.workers), "rates": document(self.rates)}


def predict(work: Work, workers: Workers, rates: Rates) -> Estimate:
    """The estimate.

    Raises:
        UsageError: A rate is missing.
    """
    known = {**DEFAULTS, **rates}
    used: dict[str, Any] = {}

    def rate(name: str) -> float:
        if name not in known:
            raise UsageError(
                f"How fast this job goes is not known: there is no rate {name} ({UNITS[name]}).",
                f"Measure it here with --probe 64, or give it: --rate {name}=NUMBER.",
            )
        used[name] = known[name]
        return known[name].value

    at_once = dict(_at_once(work, workers, rate, known)) if work.rows else {}
    before = {"list": work.list_seconds}
    if work.rows and "fixed_seconds" in known:
        before["start"] = rate("fixed_seconds")
    steps = {**before, **at_once}
    flow = max(at_once.values(), default=0.0)
    total = sum(before.values()) + flow
    added = round(work.rows * rate("bytes_per_row")) if work.rows else 0
    unsized = round(work.unsized * rate("bytes_per_image")) if work.unsized else 0
    return Estimate(
        seconds={**steps, "total": total},
        limit=max(steps, key=lambda name: steps[name]),
        hours=total / 3600,
        gpu_hours=workers.gpus * total / 3600 if work.rows else 0.0,
        cpu_hours=workers.cpus * total / 3600 if work.rows else 0.0,
        lists=math.ceil(work.listed / LIST_PAGE),
        gets=work.gets,
        bytes=work.sized_bytes + unsized,
        rows=work.rows,
        rows_added=work.rows - work.replaced,
        commits=_commits(work, flow),
        table_bytes=work.table_bytes + added,
        added_bytes=added,
        index_bytes=index_bytes(work.table_rows + work.rows - work.replaced, work.dim),
        workers=workers,
        rates=used,
    )


def _at_once(work: Work, workers: Workers, rate: Callable[[str], float], known: Rates) -> Iterator[tuple[str, float]]:
    """The steps that go on at the same time, and the seconds that each would take alone."""
    if workers.gpus_per_encoder:
        yield "fetch and decode", work.gets / (workers.preparers * rate("prepared_per_second_per_cpu"))
        yield "embed", work.gets / (workers.encoders * rate("images_per_second_per_gpu_encoder"))
    else:
        yield "fetch, decode and embed", work.gets / (workers.encoders * rate("images_per_second_per_worker"))
    if "gets_per_second" in known:
        yield "GETs", work.gets / rate("gets_per_second")
    if "fetched_per_second" in known:
        unsized = work.unsized * rate("bytes_per_image") if work.unsized else 0.0
        yield "network", (work.sized_bytes + unsized) / rate("fetched_per_second")
    yield "commit", work.rows / rate("committed_per_second")


def _commits(work: Work, seconds: float) -> int:
    """Whole fragments until there are rows enough; slow runs commit what they have after some minutes."""
    fragment = min(work.commit_rows, FRAGMENT_ROWS)
    rows = math.ceil(work.commit_rows / fragment) * fragment
    return max(math.ceil(work.rows / rows), int(seconds // AT_MOST_SECONDS))
