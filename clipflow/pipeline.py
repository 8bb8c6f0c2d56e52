"""The main flow: list ▸ subtract ▸ fetch ▸ decode ▸ embed ▸ score ▸ judge ▸ stage ▸ commit.

`plan` goes as far as subtract and writes nothing. `run` goes on: workers fetch, decode, embed, score, judge
and stage (see `clipflow.stages`), this process commits their receipts (see `clipflow.table.commit`).
Nothing is kept between runs but the table: to resume is to run again.
"""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic

import lance

from clipflow.assignment import Assignment
from clipflow.encoders import check_backend, describe, text_encoder
from clipflow.engine import choose, run_stages
from clipflow.engine.graph import Graph, foresee
from clipflow.interval import Interval
from clipflow.later import check_supported
from clipflow.policy.check import check_policy
from clipflow.policy.judge import prepare
from clipflow.progress import Progress
from clipflow.refusals import refusals
from clipflow.report import Plan, RunReport
from clipflow.source import Notes, list_source, listing_schema
from clipflow.source.exclude import patterns
from clipflow.spec import JobSpec
from clipflow.subtract import Subtraction, subtract
from clipflow.table.address import TableAddress
from clipflow.table.commit import Committer
from clipflow.table.dataset import open_dataset
from clipflow.table.forgotten import read_forgotten
from clipflow.table.images import check_images, ensure_images
from clipflow.table.moved import ensure_in_place
from clipflow.table.retention import expire
from clipflow.table.runs import Operation
from clipflow.table.stage import Receipt
from clipflow.uri import canonical
from clipflow.wish import Wish
from clipflow.withdrawal import withdraw_gone

log = logging.getLogger("clipflow")

AT_MOST_SECONDS = 300.0
"""So much work, and what is on its way, a kill may cost where images are slow and `commit_rows` are many."""


@dataclass(frozen=True)
class Planning:
    """What planning came to, while its files are there.

    Attributes:
        dataset: The images table, if there is one.
        graph: None when there is nothing to embed.
        seconds: Of listing and subtracting.
    """

    assignment: Assignment
    dataset: lance.LanceDataset | None
    left: Subtraction
    graph: Graph | None
    seconds: float

    @property
    def plan(self) -> Plan:
        """As its callers see it."""
        graph = self.graph.document() if self.graph else None
        source = self.assignment.spec.source
        exclude = patterns(source) if source.kind == "objects" else []
        return Plan.of(
            self.left, self.assignment.address.uri, _version(self.dataset), self.assignment.info.card(), exclude, graph
        )


@contextmanager
def planning(
    spec: JobSpec,
    interval: Interval | None = None,
    ray: str | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    wish: Wish | None = None,
) -> Iterator[Planning]:
    """List, subtract, and choose the graph; see `plan`."""
    wish = wish or Wish()
    assignment, dataset = assign(wish.applied(spec), interval, run_id="")
    began = monotonic()
    with list_and_subtract(assignment, dataset, wish) as left:
        seconds = monotonic() - began
        graph = foresee(assignment, ray, left.to_fetch, cpus, gpus) if left.to_fetch else None
        yield Planning(assignment, dataset, left, graph, seconds)


@refusals()
def plan(
    spec: JobSpec,
    *,
    interval: Interval | None = None,
    ray: str | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    wish: Wish | None = None,
) -> Plan:
    """List and subtract; no encoder is loaded, nothing is fetched, nothing is written.

    Args:
        ray: As for `run`; a cluster is asked what it has.
        cpus, gpus: Of a machine or cluster that is not at hand.
        wish: What the run is to do beyond the job.

    Raises:
        UsageError: The job, the interval, the source, the encoder or the table is wrong.
        ClusterError: The cluster does not answer, or is too small.
    """
    with planning(spec, interval, ray, cpus, gpus, wish) as found:
        return found.plan


@refusals()
def run(
    spec: JobSpec,
    *,
    interval: Interval | None = None,
    ray: str | None = None,
    progress: bool | None = None,
    wish: Wish | None = None,
) -> RunReport:
    """Bring the table up to date with the source.

    Args:
        interval: Fills the source's window; None is unbounded.
        ray: `none`, `local` or an address; None chooses by the number of images.
        progress: Draw a bar; None draws one on a terminal.
        wish: What to do beyond the job, such as trying failures again.

    Raises:
        UsageError: Before anything is written.
        JobError: What was embedded until then is committed; running again does the rest.
    """
    wish = wish or Wish()
    spec = wish.applied(spec)
    report = RunReport(run_id=uuid.uuid4().hex)
    assignment, dataset = assign(spec, interval, report.run_id)
    report.table = assignment.address.uri
    with report.clock("list"):
        left = list_and_subtract(assignment, dataset, wish)
    report.version = _version(dataset)
    report.count(left)
    with left, Operation(assignment.address, assignment.record, report) as operation:
        operation.note(**wish.document(), excluded=left.excluded)
        wish.check(left.listed, spec.source)
        if left.to_fetch:
            engine = choose(ray, left.to_fetch)
            operation.open()
            if dataset is not None:
                ensure_images(assignment.address, assignment.schema, assignment.about)
            _embed_and_commit(ready(assignment, report), left, operation, report, engine, progress)
        refused = withdraw_gone(assignment, left, operation, report)
        if spec.retention_days is not None and report.version is not None:
            report.version = expire(assignment.address, spec.retention_days, operation)
        operation.note(missing=report.missing, withdrawn=report.withdrawn)
        report.check(spec.limits)
        if refused is not None:
            raise refused
    return report


def assign(spec: JobSpec, interval: Interval | None, run_id: str) -> tuple[Assignment, lance.LanceDataset | None]:
    """All that can be refused is refused here."""
    check_supported(spec)
    info = describe(spec.encoder, spec.decode)
    check_backend(spec.compute, info)
    check_policy(spec.policy, info, captions=bool(spec.source.caption), attributes=spec.source.attributes)
    assignment = Assignment(spec, info, run_id, interval, TableAddress.of(spec.table.uri, spec.table.storage))
    dataset = open_dataset(assignment.address)
    if dataset is not None:
        ensure_in_place(dataset)
        check_images(dataset, assignment.schema, assignment.about)
    return assignment, dataset


def _version(dataset: lance.LanceDataset | None) -> int | None:
    # A dataset without rows is falsy.
    return None if dataset is None else int(dataset.version)


def list_and_subtract(assignment: Assignment, dataset: lance.LanceDataset | None, wish: Wish) -> Subtraction:
    """What is listed, less what the table holds."""
    source, address, notes = assignment.spec.source, assignment.address, Notes()
    own = [canonical(one) for one in (address.images, address.runs, address.forgotten)]
    listing = list_source(source, assignment.interval, notes, own=own, whole=wish.reconcile)
    forgotten = read_forgotten(address)
    unbounded = assignment.interval is None or source.window == "all" or wish.reconcile
    left = subtract(
        map(wish.amend, listing) if wish.amend else listing,
        listing_schema(source),
        dataset,
        forgotten,
        assignment.spec,
        unbounded=unbounded,
        again=wish.again,
        notes=notes,
    )
    log.info("list: %d images under %s, %d names excluded", left.listed, source.uri, left.excluded)
    for sentence in left.warnings:
        log.warning("list: %s", sentence)
    log.info("subtract: %d unchanged, %d forgotten, %d to fetch", left.unchanged, left.forgotten, left.to_fetch)
    return left


def ready(assignment: Assignment, report: RunReport) -> Assignment:
    """With labels encoded and weights read: once here, not by every worker."""
    spec, info = assignment.spec, assignment.info
    with report.clock("score"):
        return replace(assignment, prepared=prepare(spec.policy, info, text_encoder(spec.encoder, info)))


def _embed_and_commit(
    assignment: Assignment, left: Subtraction, operation: Operation, report: RunReport, engine: str, bar: bool | None
) -> None:
    with Progress(left.to_fetch, bar) as progress:
        receipts = run_stages(engine, left, assignment, progress.reach)
        land(Committer(assignment, operation, left.planned), receipts, assignment.spec.table.commit_rows, report)


def land(committer: Committer, receipts: Iterator[Receipt], rows: int, report: RunReport) -> None:
    """Commit what workers staged, as it comes, in versions of about so many rows."""
    for group in _groups(receipts, rows):
        with report.clock("commit"):
            landed = committer.commit(group)
        report.land(landed, group)
        log.info("commit: version %d, %d images so far", landed.version, report.worked)


def _groups(receipts: Iterator[Receipt], rows: int) -> Iterator[list[Receipt]]:
    """Receipts of so many rows together, or fewer after some minutes; the last group holds what is left."""
    group: list[Receipt] = []
    began = monotonic()
    for receipt in receipts:
        group.append(receipt)
        if sum(len(receipt.keys) for receipt in group) >= rows or monotonic() - began > AT_MOST_SECONDS:
            yield group
            group, began = [], monotonic()
    if group:
        yield group
