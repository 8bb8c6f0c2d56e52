"""Review: a human's verdict in the row, which outranks the rules until it is withdrawn."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import lance
import pyarrow as pa

from clipflow.columns import with_columns, with_values
from clipflow.errors import ClipflowError, UsageError
from clipflow.policy.verdict import verdicts
from clipflow.report import RunReport
from clipflow.schema import REVIEW_COLUMNS, SOURCE_DELETED
from clipflow.spec import StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.images import about_images, ensure_fixed_columns, open_images, policy_of
from clipflow.table.lookup import find_ids
from clipflow.table.moved import current, ensure_in_place
from clipflow.table.queue import IN_QUEUE
from clipflow.table.replace import replace_rows, whole_rows
from clipflow.table.runs import Operation, record
from clipflow.table.verdict_times import with_verdict

Verdict = Literal["accepted", "rejected"]


@dataclass(frozen=True)
class Review:
    """What a human says of images.

    Attributes:
        verdict: None withdraws what was said before, and the rows' rules decide again.
        by: Who says it.
        why: The reason, in the reviewer's words.

    Raises:
        UsageError: by or why is empty, or no Unicode.
    """

    verdict: Verdict | None
    by: str
    why: str

    def __post_init__(self) -> None:
        for name in ("by", "why"):
            said = getattr(self, name)
            if not said.strip():
                raise UsageError(f"A review needs `{name}`, and it is empty.", f"Give --{name}.")
            # What a shell hands over need not be UTF-8.
            if said != said.encode(errors="replace").decode():
                raise UsageError(f"What `{name}` says is not valid Unicode.", "Write it as UTF-8.")


@dataclass
class ReviewReport:
    """What a review did.

    Attributes:
        run_id: Its row in the runs table.
        version: The images table's version afterwards; the same as before when nothing changed.
        rows: Images that were named.
        changed: Rows whose status or review changed.
        queue: Rows left in status review.
    """

    run_id: str
    table: str
    version: int
    verdict: Verdict | None
    rows: int
    changed: int = 0
    queue: int = 0

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow review --json`."""
        return asdict(self)

    def text(self) -> str:
        """As a few lines for people."""
        same = self.rows - self.changed
        did = "given back to their rules" if self.verdict is None else self.verdict
        return (
            f"{self.changed} rows {did}" + (f", {same} stay as they were" if same else "") + "\n"
            f"{self.queue} rows wait for a review\ntable {self.table}, version {self.version}"
        )


def review(table: str, images: Sequence[str], given: Review, *, storage: StorageSpec | None = None) -> ReviewReport:
    """Write a human's verdict into rows, or withdraw it. All of them in one version, or none.

    Args:
        images: image_ids, unique beginnings of 8 digits or more, or source URIs.

    Raises:
        UsageError: Nothing was named, or an image that is not there, that several share the beginning of, or that
            failed; nothing is written.
        CommitContention, OperationClosed, StorageUnavailable: See `clipflow.errors`.
    """
    if not images:
        raise UsageError("No image was named.", "Name images by id or source URI, or give --from FILE.")
    address = current(TableAddress.of(table, storage))
    dataset = open_images(address)
    about = about_images(dataset)
    ids = find_ids(dataset, images)
    _reviewable(address, dataset, ids)
    report = ReviewReport(uuid.uuid4().hex, address.uri, int(dataset.version), given.verdict, len(ids))
    clock = RunReport(report.run_id, report.table, report.version)
    spec = {"table": {"uri": report.table}, "verdict": given.verdict}
    try:
        with Operation(address, record("review", report.run_id, spec, about), clock) as operation:
            operation.note(verdict=given.verdict or "withdrawn", by=given.by.strip(), rows=report.rows)
            operation.open()
            ensure_fixed_columns(address)
            with clock.clock("commit"):
                _commit(address, ids, given, operation, report)
            clock.version = report.version
            operation.note(changed=report.changed, queue=report.queue)
    except ClipflowError as error:
        error.report = report.document()
        raise
    return report


def _commit(
    address: TableAddress, ids: Sequence[str], given: Review, operation: Operation, report: ReviewReport
) -> None:
    def decide(dataset: lance.LanceDataset) -> Change:
        operation.ensure_open()
        ensure_in_place(dataset)
        rows = _reviewed(_reviewable(address, dataset, ids), given, dataset)
        report.changed = len(rows)
        return replace_rows(address, dataset, rows)

    dataset = guarded_commit(address, address.images, decide, operation.properties)
    report.version, report.queue = int(dataset.version), dataset.count_rows(IN_QUEUE)


def _reviewable(address: TableAddress, dataset: lance.LanceDataset, ids: Sequence[str]) -> pa.Table:
    rows = whole_rows(address, dataset, ids)
    statuses = dict(zip(rows.column("image_id").to_pylist(), rows.column("status").to_pylist(), strict=True))
    for key in ids:
        if key not in statuses:
            raise UsageError(f"{dataset.uri} has no row of {key!r}.", "Leave it out.")
        if statuses[key] == "failed":
            raise UsageError(
                f"The image {key} failed, so there is nothing to review.", "`clipflow explain` says why; leave it out."
            )
    return rows


def _reviewed(rows: pa.Table, given: Review, dataset: lance.LanceDataset) -> pa.Table:
    """Copies of the rows that the review changes, and of no others."""
    now = datetime.now(UTC)
    if given.verdict is None:
        rows = rows.filter(rows.column("reviewed_verdict").is_valid())
        rows = with_columns(rows, dict.fromkeys(REVIEW_COLUMNS, [None] * len(rows)))
        found = verdicts(policy_of(about_images(dataset)), rows)
        # Nothing else tells when a verdict was withdrawn.
        return with_values(with_verdict(rows, found.status, found.reasons, now), "judged_at", [now] * len(rows))
    said = {
        "reviewed_verdict": given.verdict,
        "reviewed_by": given.by.strip(),
        "reviewed_why": given.why.strip(),
    }
    there = rows.select(list(said)).to_pylist()
    rows = rows.filter(pa.array([row != said for row in there], pa.bool_()))
    rows = with_columns(rows, {name: [value] * len(rows) for name, value in (said | {"reviewed_at": now}).items()})
    reasons = rows.column("reasons").to_pylist()
    # What is not there any more stays away; the verdict waits in its columns until the object returns.
    status = ["rejected" if SOURCE_DELETED in names else given.verdict for names in reasons]
    return with_verdict(rows, status, reasons, now)
