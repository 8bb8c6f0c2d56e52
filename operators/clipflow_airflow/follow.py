"""Following one Ray job to its end: its log on the way, then how it ended."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from clipflow.errors import ClipflowError, ClusterError
from clipflow_airflow.jobs import ALIVE, RayJobs, Unreachable
from clipflow_airflow.logtail import LogTail, Save, Tell
from clipflow_airflow.report import Report, failure, find_report, small

PATIENCE_SECONDS = 120.0
"""A head that does not answer for so long is taken for lost."""


@dataclass(frozen=True)
class Outcome:
    """How a job ended; small and plain enough for a trigger's event.

    Args:
        submission_id: The job.
        ours: Whether the attempt that waits had started it.
        report: What it did, when it succeeded.
        error: Else what was wrong, as the document of a ClipflowError.
        over: Whether the job has ended; else it is only out of sight.
    """

    submission_id: str
    ours: bool
    report: Report | None = None
    error: Mapping[str, Any] | None = None
    over: bool = True

    @classmethod
    def failed(cls, submission_id: str, ours: bool, error: ClipflowError, *, over: bool) -> Self:
        """An outcome that is an error."""
        return cls(submission_id, ours, error=error.document(), over=over)

    def event(self) -> dict[str, Any]:
        """As plain data; `Outcome(**event)` reads it."""
        return asdict(self)


async def follow(
    jobs: RayJobs,
    submission_id: str,
    ours: bool,
    tell: Tell,
    *,
    position: int = 0,
    save: Save | None = None,
) -> Outcome:
    """Wait for a job, and tell its log on the way.

    Args:
        jobs: An open session.
        submission_id: The job.
        ours: Goes into the outcome.
        tell: Where the log goes, line by line.
        position: How much of the log was told already.
        save: Keeps the position, for whoever goes on after us.

    Raises:
        ClusterError: The job can no longer be seen.
    """
    async with LogTail(jobs, submission_id, tell, position, save) as log:
        while True:
            info = await _patiently(jobs, submission_id)
            await log.tell()
            if info["status"] not in ALIVE:
                break
            await asyncio.sleep(jobs.address.poll_seconds)
        text = await jobs.logs(submission_id)
        await log.tell_rest(text)
    report = find_report(text)
    if info["status"] == "SUCCEEDED" and report is not None:
        return Outcome(submission_id, ours, report=small(report))
    return Outcome.failed(submission_id, ours, failure(submission_id, info, text), over=True)


async def _patiently(jobs: RayJobs, submission_id: str) -> dict[str, Any]:
    """What Ray knows about the job. A head that does not answer for a moment is no failed job."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_SECONDS
    while True:
        try:
            info = await jobs.info(submission_id)
        except Unreachable:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(jobs.address.poll_seconds)
        else:
            if info is None:
                raise ClusterError(
                    f"Ray no longer knows the job {submission_id}: its head was restarted.",
                    "A retry starts the job again; what was committed is not done twice.",
                )
            return info
