"""Withdrawing in one step, at the end of a run, what is gone; and no more of it than can be believed."""

import itertools

import pyarrow as pa

from clipflow.assignment import Assignment
from clipflow.errors import TooManyWithdrawn
from clipflow.report import RunReport
from clipflow.subtract import GONE, Subtraction
from clipflow.table.runs import Operation
from clipflow.table.withdraw import withdraw

MANY = 20
"""So many rows may be withdrawn at once, whatever share of the source's they are."""


def withdraw_gone(
    assignment: Assignment, left: Subtraction, operation: Operation, report: RunReport
) -> TooManyWithdrawn | None:
    """Reject the rows whose object is gone: those that planning missed, and those that a worker did not find.

    Returns:
        The error to raise when the run is over, where they are more than the job allows; then none is withdrawn.
    """
    spec = assignment.spec
    gone = left.gone + len(report.not_found)
    if spec.source.deleted != "reject" or not gone:
        return None
    report.excused = len(report.not_found)
    if gone > MANY and gone > spec.limits.max_withdrawn_share * left.held:
        return TooManyWithdrawn(
            f"{gone} of {left.held} rows of {spec.source.uri} would be withdrawn, because their objects are gone; "
            f"that is more than limits.max_withdrawn_share {spec.limits.max_withdrawn_share:g} allows, so none was.",
            "Look whether the source is whole: a drive that is not mounted, a wrong prefix, a right that was taken "
            "away. If they are gone indeed: --set limits.max_withdrawn_share=1.",
        )
    operation.open()
    seen = pa.table({"image_id": list(report.not_found), "run_id": list(report.not_found.values())}, schema=GONE)
    chunks = itertools.chain(left.gone_rows(spec.table.commit_rows), [seen] * bool(len(seen)))
    report.withdrawn, report.version = withdraw(assignment.address, chunks, operation)
    report.gone, report.missing_images = 0, []
    report.not_found.clear()
    return None
