"""The main flow of a migration: tombstones ▸ a run a month ▸ reviews ▸ switch ▸ once more ▸ overlap.

Months are filled by `pipeline.run`, from a manifest of the rows that the new table lacks. Nothing is kept between
calls but the two tables: to resume is to call again. Readers see the old table until one commit points them to the
new one; whatever was committed to the old table until that moment is carried over behind it.
"""

import logging
import uuid
from collections.abc import Sequence
from pathlib import Path

from clipflow.encoders import describe
from clipflow.errors import ClipflowError, TableError, TooManyFailed
from clipflow.forget.forget import forget
from clipflow.interval import Interval
from clipflow.migrate.history import History
from clipflow.migrate.job import job_of
from clipflow.migrate.overlap import retrieval_overlap
from clipflow.migrate.parts import Part, Parts
from clipflow.migrate.report import Migration
from clipflow.pipeline import assign, run
from clipflow.report import RunReport
from clipflow.scratch import Scratch
from clipflow.spec import JobSpec, PolicySpec, StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.carry import carry_reviews
from clipflow.table.dataset import open_dataset
from clipflow.table.forgotten import Forgotten, read_forgotten
from clipflow.table.images import about_images, ensure_images, open_images
from clipflow.table.moved import move, moved_to
from clipflow.table.runs import Operation, record
from clipflow.wish import Wish

log = logging.getLogger("clipflow")

_MANY = 1000
"""Rows after which too many failures end the call at once; a few of a small first month say nothing of the whole."""


def migrate(
    table: str,
    encoder: str,
    *,
    to: str | None = None,
    policy: str | Path | PolicySpec | None = None,
    sets: Sequence[str] = (),
    limit: int | None = None,
    ray: str | None = None,
    progress: bool | None = None,
    storage: StorageSpec | None = None,
) -> Migration:
    """Fill a new table with another encoder, then point readers of the old one to it. May be killed and called again.

    Args:
        encoder, to, policy, sets: See `migrate.job.job_of`.
        limit: At most so many images are given to the encoder by this call; readers are not switched while any is left.
        ray, progress: As for `pipeline.run`.

    Raises:
        UsageError: The call is wrong, or the policy has rules on vectors and is not restated; nothing was written.
        TooManyFailed: More images failed than the limit allows that have a vector in the old table; nothing is lost.
        JobError: As for `pipeline.run`. What was embedded stays; calling again does the rest.
    """
    old = TableAddress.of(table, storage)
    dataset = open_images(old)
    about = about_images(dataset)
    job = job_of(old, dataset, encoder, to, policy, sets, storage)
    info = describe(job.encoder, job.decode)
    new = TableAddress.of(job.table.uri, storage)
    if (there := moved_to(dataset)) not in (None, new.images):
        raise TableError(f"The table {old.uri} was migrated to {there} already.", f"Migrate {there}.")
    _, filled = assign(job, None, run_id="")
    version = None if filled is None else int(filled.version)
    report = Migration(
        new.uri, version, old.uri, about["encoder_id"], info.encoder_id, job.policy.policy_id, uuid.uuid4().hex, version
    )
    clock = RunReport(report.run_id, old.uri, int(dataset.version))
    try:
        with Operation(old, record("migrate", report.run_id, _spec(old, new, job), about), clock) as operation:
            # Before rows are read: who forgets one waits for operations that are open, and must not miss this one.
            operation.open()
            _migrate(_Tables(old, new, job, ray, progress), operation, report, limit)
            clock.version = int(open_images(old).version)
            operation.note(to=new.uri, switched=report.switched, reviews=report.reviews, left=report.left)
    except ClipflowError as error:
        error.report = report.document()
        raise
    report.seconds = {"total": round(clock.seconds["total"], 3)}
    return report


class _Tables:
    """The two tables and the job that fills the new one."""

    def __init__(self, old: TableAddress, new: TableAddress, job: JobSpec, ray: str | None, bar: bool | None) -> None:
        self.old, self.new, self.job = old, new, job
        self.ray, self.bar = ray, bar
        self.wish = Wish()

    def parts(self) -> Parts:
        """Questions to the old table as it is now."""
        source = self.job.source
        words = ["caption"] * bool(source.caption) + [f"attr_{name}" for name in source.attributes]
        return Parts(self.old, int(open_images(self.old).version), self.new, words)


def _migrate(tables: _Tables, operation: Operation, report: Migration, limit: int | None) -> None:
    old, new = tables.old, tables.new
    dataset = open_images(old)
    version, switched = int(dataset.version), moved_to(dataset) is not None
    _pass(tables, report, limit)
    if report.left:
        return
    _carry(tables, report, switched=switched)
    if not switched:
        before = int(open_images(old).version)
        move(old, new, operation)
        log.info("migrate: readers of %s see %s now", old.uri, new.uri)
        if before != version:
            # Others wrote to the old table meanwhile. From now on nobody does.
            _pass(tables, report, None, again=True)
            _carry(tables, report, switched=False)
    report.switched = True
    _hand_over_tombstones(tables, report)
    report.reviews_left = tables.parts().reviews_left()
    report.retrieval = retrieval_overlap(old, int(open_images(old).version), new)
    report.version = int(open_images(new).version)


def _pass(tables: _Tables, report: Migration, limit: int | None, *, again: bool = False) -> None:
    """Everything that the new table lacks, in the order of time.

    Args:
        again: Rows that the new table holds were counted by the pass before.
    """
    # First, so that nothing forgotten returns.
    _hand_over_tombstones(tables, report)
    parts = tables.parts()
    months = parts.all()
    tables.wish = Wish(amend=History(open_images(tables.old)).amend)
    report.intervals, report.left, todo = len(months), 0, limit
    rows, failed, passing = 0, 0, False
    for part in months:
        lacking, given = _fill(tables, parts, part, report, todo)
        if not again:
            report.listed += part.rows - lacking
            report.unchanged += part.rows - lacking
        report.left += lacking - given
        todo = None if todo is None else todo - given
        found = parts.failed(part)
        rows, failed, passing = rows + found[0], failed + found[1], passing or found[2]
        if rows >= _MANY:
            _check(tables.job, rows, failed, passing)
    _check(tables.job, rows, failed, passing)
    report.withdrawn = parts.rows - sum(part.rows for part in months)


def _fill(tables: _Tables, parts: Parts, part: Part, report: Migration, limit: int | None) -> tuple[int, int]:
    """Run one month; gives how many rows the new table lacked, and how many of them were given to the run."""
    with Scratch() as scratch:
        manifest = scratch.path / "migration.parquet"
        given, lacking = parts.write_lacking(part, manifest, limit)
        if given:
            source = tables.job.source.model_copy(update={"uri": str(manifest)})
            _run(tables, tables.job.model_copy(update={"source": source}), part.interval, report)
    if given:
        month = "without a time" if part.month is None else f"{part.month:%Y-%m}"
        log.info("migrate: %s: %d rows, %d lacking, %d run", month, part.rows, lacking, given)
    return lacking, given


def _run(tables: _Tables, job: JobSpec, interval: Interval | None, report: Migration) -> None:
    try:
        report.count(run(job, interval=interval, ray=tables.ray, progress=tables.bar, wish=tables.wish).document())
    except TooManyFailed as error:
        # Rows that failed in the old table too are no fault of this encoder: see `_check`. All is committed.
        report.count(error.report or {})


def _check(job: JobSpec, rows: int, failed: int, passing: bool) -> None:
    if failed > job.limits.max_failed_share * rows:
        raise TooManyFailed(
            f"{failed} of {rows} images failed that have a vector in the old table, more than limits.max_failed_share "
            f"{job.limits.max_failed_share:g} allows; readers still see the old table.",
            "Look at `select source_uri, reasons from images where status = 'failed'` of the new table, or raise "
            "the limit with --set.",
            passing=passing,
        )


def _carry(tables: _Tables, report: Migration, *, switched: bool) -> None:
    """Reviews, and the new table's row of this migration."""
    assignment, dataset = assign(tables.job, None, run_id=uuid.uuid4().hex)
    if dataset is None:
        # A table without rows has a place to move to as well.
        dataset = ensure_images(tables.new, assignment.schema, assignment.about)
    clock = RunReport(assignment.run_id, tables.new.uri, int(dataset.version))
    spec = _spec(tables.old, tables.new, tables.job)
    about = record("migrate", clock.run_id, spec, about_images(dataset))
    with Operation(tables.new, about, clock) as operation:
        operation.open()
        report.reviews += carry_reviews(tables.new, tables.parts().reviews(switched=switched), operation)
        clock.version = int(open_images(tables.new).version)
        operation.note(reviews=report.reviews, by=report.run_id)


def _hand_over_tombstones(tables: _Tables, report: Migration) -> None:
    """Forgotten in the old table is forgotten in the new one, also what came while this went on."""
    theirs, ours = read_forgotten(tables.old), read_forgotten(tables.new)
    more = Forgotten(theirs.image_ids - ours.image_ids, theirs.contents - ours.contents)
    if not (more.image_ids or more.contents):
        return
    report.tombstones += len(more.image_ids) + len(more.contents)
    if open_dataset(tables.new) is None:
        assignment, _ = assign(tables.job, None, run_id="")
        ensure_images(tables.new, assignment.schema, assignment.about)
    with Scratch() as scratch:
        listed = scratch.path / "tombstones.txt"
        listed.write_text("\n".join(sorted(more.image_ids | more.contents)), "utf-8")
        forget(tables.new.uri, listed=str(listed), storage=tables.job.table.storage)


def _spec(old: TableAddress, new: TableAddress, job: JobSpec) -> dict[str, object]:
    return {"table": {"uri": old.uri}, "to": {"uri": new.uri}, "encoder": job.encoder.model_dump(exclude_none=True)}
