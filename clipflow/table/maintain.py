"""Maintenance: indexes follow, small fragments become few, old versions go, readers get a tag.

No row changes, so none of it needs the guarded commit; each step is a commit of Lance that conflicts with a writer of
the same fragments and is then made again. What readers see before and after is the same, row ids included. It may run
beside jobs, be killed at any moment and be called again: it does what is left.
"""

import logging
import re
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import lance

from clipflow.errors import ClipflowError, UsageError
from clipflow.report import RunReport
from clipflow.spec import StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.clean_up import age_of, clean_up, foresee
from clipflow.table.compact import compact, fragments_after, is_due
from clipflow.table.dataset import open_dataset
from clipflow.table.images import about_images, open_images
from clipflow.table.indexes import WANTED, Index, Wanted, bring_up_to_date, due
from clipflow.table.persist import persist
from clipflow.table.runs import Operation, record

log = logging.getLogger("clipflow")

PUBLISHED = "published"
KEEP_DAYS = 7
_RUNS_FRAGMENTS = 32
_TAG = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass
class MaintainReport:
    """What maintenance did, or with `dry_run` would do.

    Attributes:
        run_id: Its row in the runs table; None for a dry run, which leaves none.
        version: The images table's version afterwards, which the tag names.
        from_version: The version before; the same when there was nothing to do.
        indexes: Every index, and what was done for it.
        tag: The tag that readers open.
        versions_removed: Old versions that can no longer be opened.
    """

    table: str
    tag: str
    version: int
    from_version: int
    rows: int
    fragments_before: int
    fragments_after: int
    run_id: str | None = None
    indexes: list[Index] = field(default_factory=list)
    versions_removed: int = 0
    bytes_removed: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    dry_run: bool = False

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow maintain --json`."""
        return asdict(self)

    def text(self) -> str:
        """As a few lines for people."""
        would = "would be " if self.dry_run else ""
        lines = [f"{self.rows} rows in {self.fragments_before} fragments, {would or 'now '}{self.fragments_after}"]
        lines += [f"index {index.name} ({index.kind} on {index.column}): {index.said(would)}" for index in self.indexes]
        lines.append(f"{self.versions_removed} old versions {would}removed, {self.bytes_removed / 1e6:.1f} MB")
        lines.append(f"table {self.table}, version {self.version}, {would}tagged {self.tag}")
        return "\n".join(lines)


def maintain(
    table: str,
    *,
    keep_days: int = KEEP_DAYS,
    tag: str = PUBLISHED,
    indexes: Sequence[Wanted] | None = WANTED,
    dry_run: bool = False,
    storage: StorageSpec | None = None,
) -> MaintainReport:
    """Maintain a table; a second call at once finds nothing to do.

    Args:
        keep_days: Versions that are older go, except tagged ones and those of the last hour.
        tag: Moved to the version afterwards, never back.
        indexes: Those to build where the table is large enough; None leaves indexes as they are.
        dry_run: Only say what would be done, and write nothing.

    Raises:
        UsageError: An argument is wrong, or there is no such table.
        CommitContention, OperationClosed, StorageUnavailable: See `clipflow.errors`.
    """
    _check(keep_days, tag)
    address = TableAddress.of(table, storage)
    dataset = open_images(address)
    about = about_images(dataset)
    fragments, version = len(dataset.get_fragments()), int(dataset.version)
    report = MaintainReport(address.uri, tag, version, version, dataset.count_rows(), fragments, fragments)
    report.indexes = [] if indexes is None else due(dataset, indexes)
    if dry_run:
        _foresee(dataset, report, keep_days)
        return report
    report.run_id = uuid.uuid4().hex
    clock = RunReport(report.run_id, report.table, version)
    spec = {"table": {"uri": report.table}, "keep_days": keep_days, "tag": tag, "index": indexes is not None}
    try:
        with Operation(address, record("maintain", report.run_id, spec, about), clock) as operation:
            if is_due(dataset) or any(index.action != "none" for index in report.indexes):
                # The table is opened anew after this: who forgets a row waits for operations that are open, and must
                # not miss one that still reads the row.
                operation.open()
                _rewrite(address, report, operation, indexes, clock)
            _finish(address, report, keep_days, clock)
    except ClipflowError as error:
        error.report = report.document()
        raise
    return report


def _rewrite(
    address: TableAddress,
    report: MaintainReport,
    operation: Operation,
    indexes: Sequence[Wanted] | None,
    clock: RunReport,
) -> None:
    if indexes is not None:
        with clock.clock("index"):
            # First, because fragments that an index covers are never joined with others that it does not.
            report.indexes = bring_up_to_date(address, indexes, operation.ensure_open)
    with clock.clock("compact"):
        compact(address, address.images, operation.ensure_open)


def _finish(address: TableAddress, report: MaintainReport, keep_days: int, clock: RunReport) -> None:
    with clock.clock("clean_up"):
        published = persist(address, address.images, lambda dataset: _publish(dataset, report.tag))
        clock.version = report.version = int(published.version)
        report.rows, report.fragments_after = published.count_rows(), len(published.get_fragments())
        removed = clean_up(address, address.images, age_of(keep_days))
        report.versions_removed, report.bytes_removed = removed.old_versions, removed.bytes_removed
        _maintain_runs(address, keep_days)
    clock.end()
    report.seconds = {step: round(clock.seconds[step], 3) for step in ("index", "compact", "clean_up", "total")}


def _foresee(dataset: lance.LanceDataset, report: MaintainReport, keep_days: int) -> None:
    report.dry_run = True
    report.fragments_after = fragments_after(dataset)
    removed = foresee(dataset, age_of(keep_days))
    report.versions_removed, report.bytes_removed = removed.old_versions, removed.bytes_removed


def _publish(dataset: lance.LanceDataset, tag: str) -> lance.LanceDataset:
    there = dataset.tags.list().get(tag)
    if there is None:
        dataset.tags.create(tag, dataset.version)
    elif there["version"] < dataset.version:
        dataset.tags.update(tag, dataset.version)
    return dataset


def _maintain_runs(address: TableAddress, keep_days: int) -> None:
    """Heartbeats leave a version a minute, and operations a fragment each."""
    runs = open_dataset(address, address.runs)
    if runs is None:
        return
    if len(runs.get_fragments()) > _RUNS_FRAGMENTS:
        compact(address, address.runs, lambda: None)
    clean_up(address, address.runs, age_of(keep_days))


def _check(keep_days: int, tag: str) -> None:
    if keep_days < 0:
        raise UsageError(f"keep_days is {keep_days}; it must be 0 or more.", "Give --keep-days 7.")
    if not _TAG.fullmatch(tag) or tag.endswith(".lock"):
        raise UsageError(f"{tag!r} is no name of a tag.", "Use letters, digits, `-`, `_` and `.`.")
