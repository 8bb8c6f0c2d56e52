"""`clipflow judge`: decide again from stored columns and vectors. No image is read, no image encoder runs.

    rescore ▸ settle ▸ announce ▸ rewrite ▸ seal

The new policy is announced in the table's metadata, so that runs by the old one end in PolicyChanged. Then rows get
their new verdict in commits of some fragments each: every row says in `policy_id` whose verdict it has, and whoever
is killed is followed by somebody who does the rest. A last guarded commit seals it: whatever a run had committed by
the old policy meanwhile is judged in it, and no stale commit comes after it.
"""

import logging
import uuid
from collections.abc import Sequence

import lance

from clipflow.audit.view import grouping
from clipflow.errors import ClipflowError, UsageError
from clipflow.judgement import Judgement
from clipflow.judging import Found, Judging
from clipflow.movement import Movement, check_list
from clipflow.report import RunReport
from clipflow.spec import PolicySpec, StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.images import about_images, ensure_fixed_columns, open_images
from clipflow.table.moved import ensure_in_place
from clipflow.table.rewrite import rewrite_columns
from clipflow.table.runs import Operation, record
from clipflow.uri import shown

log = logging.getLogger("clipflow")


def rejudge(
    table: str,
    policy: PolicySpec,
    *,
    dry_run: bool = False,
    by: Sequence[str] = (),
    listed: str | None = None,
    storage: StorageSpec | None = None,
) -> Judgement:
    """Give a table a policy, and every row the verdict that a run by this policy would have given it.

    Args:
        policy: What stands under `policy:` in a job file.
        dry_run: Only say what would change, and write nothing to the table.
        by: For a rehearsal: columns to count by what would move, attributes by their name.
        listed: For a rehearsal: where the rows that would move are written, see `Movement.write`.

    Raises:
        UsageError: `by` or `listed` without `dry_run`; no such column, or no such place.
        PolicyError: The policy cannot be applied to this table.
        TableError, EncoderError: The table, or the text side of its encoder, cannot be opened.
        PolicyChanged, CommitContention, OperationClosed, StorageUnavailable: See `clipflow.errors`.
    """
    address = TableAddress.of(table, storage)
    dataset = open_images(address)
    about = about_images(dataset)
    ensure_in_place(dataset)
    _check_rehearsal(dataset, dry_run, by, listed)
    judging = Judging.of(policy, dataset)
    report = Judgement(
        address.uri, int(dataset.version), int(dataset.version), policy.policy_id, about["policy_id"], dry_run=dry_run
    )
    clock = RunReport(uuid.uuid4().hex, report.table, report.version)
    if dry_run:
        found = judging.all_of(dataset)
        _count(report, found)
        if by or listed:
            movement = Movement.of(dataset, found, by)
            report.groups = movement.groups
            if listed:
                movement.write(listed)
                report.list_file = shown(listed)
        return report
    report.run_id = clock.run_id
    start = record("judge", clock.run_id, {"table": {"uri": report.table}, "policy": policy.body()}, about)
    start |= {"policy_id": policy.policy_id, "policy": policy.body()}
    try:
        with Operation(address, start, clock) as operation:
            _rejudge(address, judging, operation, report)
            operation.note(changed=report.changed, moves=report.moves, rescored=report.rescored)
            clock.version = report.version
    except ClipflowError as error:
        error.report = report.document()
        raise
    report.seconds = {"total": round(clock.seconds["total"], 3)}
    return report


def _rejudge(address: TableAddress, judging: Judging, operation: Operation, report: Judgement) -> None:
    # Before the table is read: a deletion waits for operations that are open, and must not miss one that reads a row.
    operation.open()
    dataset = open_images(address)
    found = judging.all_of(dataset)
    _count(report, found)
    other_policy = report.policy_id != report.from_policy_id
    other_scores = judging.changed_scores(dataset)
    other_order = judging.changed_order(dataset)
    if not (other_policy or other_scores or other_order or found.stale.any()):
        return
    log.info("judge: %d of %d rows change their status", report.changed, len(found.census))
    ensure_fixed_columns(address)
    if other_policy or other_order:
        judging.announce(address)
    if found.stale.any():

        def check(dataset: lance.LanceDataset) -> None:
            operation.ensure_open()
            judging.ensure_current(dataset)

        rewrite_columns(address, judging.rewritten(found), check, operation.properties)
    if other_scores and not other_policy:
        # Last: under one policy_id nothing else tells rows that have other scores from those that wait for them.
        judging.announce(address)
    report.version = int(judging.seal(address, operation, found).version)


def _check_rehearsal(dataset: lance.LanceDataset, dry_run: bool, by: Sequence[str], listed: str | None) -> None:
    """What is wrong with a rehearsal is said before it takes its time."""
    if (by or listed) and not dry_run:
        raise UsageError("--by and --list say what would move.", "Add --dry-run.")
    for column in by:
        grouping(column, dataset.schema)
    if listed:
        check_list(listed)


def _count(report: Judgement, found: Found) -> None:
    report.count(found.census.strings("status").to_pylist(), found.settled.verdicts.status.to_pylist())
    report.rescored = {rule: rows for rule, rows in found.rescored.items() if rows}
