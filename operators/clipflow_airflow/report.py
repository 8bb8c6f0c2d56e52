"""The report on its way back: out of the job's log, into XCom and the asset event."""

import json
from collections.abc import Mapping
from typing import Any

from clipflow.errors import ClusterError, JobError, UsageError

Report = dict[str, Any]

XCOM_BYTES = 2000
_EVENT_KEYS = (
    "run_id", "table", "version", "listed", "unchanged", "reused", "embedded", "failed", "forgotten",
    "accepted", "review", "rejected", "tag",
)  # fmt: skip


class JobFailed(JobError):
    """What the job itself said was wrong, on the cluster.

    Args:
        retryable: The job's own judgement.
    """

    def __init__(self, message: str, mend: str = "", *, retryable: bool = True) -> None:
        super().__init__(message, mend)
        self.retryable = retryable


def find_report(log: str) -> Report | None:
    """The JSON document that the job printed last; Ray may print lines of its own after it."""
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            try:
                document = json.loads(line)
            except ValueError:
                continue
            # An audit writes nothing, so it has no run.
            if isinstance(document, dict) and document.keys() & {"error", "run_id", "table"}:
                return document
    return None


def failure(submission_id: str, info: Mapping[str, Any], log: str) -> JobError:
    """Why a job that is over did not succeed, in its own words where it left any.

    Args:
        submission_id: The job.
        info: What Ray knows about it.
        log: All that it printed.
    """
    document = find_report(log)
    error = document.get("error") if document else None
    if isinstance(error, Mapping):
        return error_of(error)
    state = info["status"]
    if state == "STOPPED":
        return ClusterError(
            f"The Ray job {submission_id} was stopped on the cluster.", "Clear the task to run it again."
        )
    if state == "SUCCEEDED":
        return ClusterError(f"The Ray job {submission_id} left no report.", "A retry runs it again.")
    code = info.get("driver_exit_code")
    why = " ".join(str(info.get("message") or "").partition("Full traceback:")[0].split()).rstrip(".")[:500]
    # Without an exit code Ray itself gave up, and only its own message says why: no node has what the driver wants, or
    # its environment cannot be made.
    said = (code is None and why) or last_line(log) or why or "it printed nothing"
    # A wrong call stays wrong, also where the program that refused it left no document.
    final = code == UsageError.exit_code
    return JobFailed(f"The Ray job {submission_id} ended as {state}: {said}.", retryable=not final)


def error_of(document: Mapping[str, Any]) -> JobFailed:
    """The exception that an error document stands for."""
    return JobFailed(str(document["message"]), str(document["mend"]), retryable=bool(document["retryable"]))


def last_line(text: str) -> str:
    """The last line that says something; empty when none does."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".")[:500] if lines else ""


def small(report: Report) -> Report:
    """The report without what XCom should not hold: it stays under 2 KB.

    The longest values fall first, such as the groups and rules of an audit; its counts stay.
    """
    left = dict(report)
    while len(json.dumps(left)) >= XCOM_BYTES:
        del left[max(left, key=lambda key: len(json.dumps(left[key])))]
    return left


def moved(report: Report) -> bool:
    """Whether there is a new version of the table: a run makes one exactly when it wrote rows."""
    if "from_version" in report:
        return bool(report["version"] != report["from_version"])
    return any(report.get(key) for key in ("embedded", "reused", "failed", "withdrawn"))


def event(report: Report) -> Report:
    """What the asset event carries."""
    return {key: report[key] for key in _EVENT_KEYS if key in report}
