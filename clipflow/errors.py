"""Every error that clipflow raises on purpose, and the one place where foreign errors become ours.

    ClipflowError                    one sentence, its mend, and whether a retry can help
    ├── UsageError                   exit 2: the call or the job file is wrong; never retried
    │   ├── JobFileError             a key or a value of the job file
    │   ├── IntervalError            start and end do not make an interval
    │   ├── SourceError              the source cannot be listed as named
    │   ├── EncoderError             the model cannot be loaded as named
    │   ├── PolicyError              a rule cannot be applied, or the table has another policy
    │   ├── TableError               the table cannot be opened or written as named
    │   │   └── EncoderMismatch      the table holds vectors of another encoder
    │   ├── QueryError               a search or an SQL statement that cannot be answered
    │   ├── MachineError             a folder, a file or a limit of this machine stands in the way
    │   ├── MissingEngine            a library of the engine is not installed
    │   └── NotYet                   a part of the contract that this version does not have
    └── JobError                     exit 1: the job failed
        ├── TooManyFailed            more images failed than limits.max_failed_share allows
        ├── TooManyWithdrawn         more objects are gone than limits.max_withdrawn_share allows; final
        ├── SourceEmpty              nothing was listed, and the caller wants something; retry
        ├── AuditFailed              the condition of `clipflow audit --fail-if` holds; final
        ├── PolicyChanged            the table's policy changed while the run was under way; retry
        ├── OperationClosed          somebody else closed this operation; final
        ├── StillRunning             operations that began before a deletion are at work yet; retry
        ├── NotErased                a file holds what was forgotten after all; retry
        ├── StagedFilesGone          a clean-up took staged files before their commit; retry
        ├── CommitContention         other writers kept winning the commit; retry
        ├── StorageUnavailable       storage did not answer, or is full; retry
        ├── OutOfMemory              memory ran out; retry
        ├── Interrupted              somebody ended the process; retry
        ├── ClusterError             Ray could not be reached, or lost the job; retry
        └── StageError               code of a stage raised: a defect here or in a plugin; final

Failures of single images are not exceptions but rows: see `clipflow.failures`.
"""

from typing import Any, ClassVar


class ClipflowError(Exception):
    """An error a user can read: what is wrong in one sentence, and the mend.

    Args:
        message: One sentence that names the thing that is wrong.
        mend: What to do about it; empty when nothing but waiting helps.
    """

    exit_code: ClassVar[int] = 1
    retryable: bool = False
    report: dict[str, Any] | None = None
    """The run's report so far, where a run had begun."""

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message} {self.mend}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), dict(self.__dict__)))

    def document(self) -> dict[str, Any]:
        """The `error` object of the JSON output."""
        return {
            "class": type(self).__name__,
            "message": self.message,
            "mend": self.mend,
            "retryable": self.retryable,
        }


def first_line(error: BaseException) -> str:
    """What a foreign error says first, or its name when it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _rebuild(kind: type[ClipflowError], state: dict[str, Any]) -> ClipflowError:
    error = kind.__new__(kind)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


class UsageError(ClipflowError):
    """The call or the job file is wrong; trying again changes nothing."""

    exit_code = 2


class JobFileError(UsageError):
    """A key or a value of the job file is wrong."""


class IntervalError(UsageError):
    """Start and end do not make an interval."""


class SourceError(UsageError):
    """The source cannot be listed as the job file names it."""


class EncoderError(UsageError):
    """The model cannot be loaded as the job file names it."""


class PolicyError(UsageError):
    """A rule cannot be applied, or the table was judged by another policy."""


class TableError(UsageError):
    """The table cannot be opened or written as the job file names it."""


class EncoderMismatch(TableError):
    """The table holds the vectors of another encoder (law 5)."""


class QueryError(UsageError):
    """A search or an SQL statement that cannot be answered."""


class MachineError(UsageError):
    """A folder, a file or a limit of this machine stands in the way."""


class MissingEngine(UsageError):
    """A library of the engine is not installed."""


class NotYet(UsageError):
    """A part of the contract that this version does not have."""


class JobError(ClipflowError):
    """The job was right, and failed all the same."""


class TooManyFailed(JobError):
    """More images failed than `limits.max_failed_share` allows; what was embedded is committed.

    Args:
        passing: Whether a retry can help: some of the failures are of a passing kind.
    """

    def __init__(self, message: str, mend: str = "", *, passing: bool = False) -> None:
        super().__init__(message, mend)
        self.retryable = passing


class TooManyWithdrawn(JobError):
    """More rows would be withdrawn than `limits.max_withdrawn_share` allows; none was."""


class SourceEmpty(JobError):
    """Nothing was listed, where the caller said that this is an error."""

    retryable = True


class AuditFailed(JobError):
    """The condition of `clipflow audit --fail-if` holds."""


class PolicyChanged(JobError):
    """The table's policy changed while the run was under way."""

    retryable = True


class OperationClosed(JobError):
    """Another operation closed this one; it commits nothing more."""


class StillRunning(JobError):
    """Operations that began before a deletion are at work yet, and may hold what it removes."""

    retryable = True


class NotErased(JobError):
    """A file under the table holds what was forgotten after all."""

    retryable = True


class StagedFilesGone(JobError):
    """A clean-up took staged files before their commit."""

    retryable = True


class CommitContention(JobError):
    """Other writers won the commit more often than we try."""

    retryable = True


class StorageUnavailable(JobError):
    """Storage did not answer, or is full."""

    retryable = True


class OutOfMemory(JobError):
    """Memory ran out."""

    retryable = True


class Interrupted(JobError):
    """Somebody ended the process; what was committed stays."""

    retryable = True


class ClusterError(JobError):
    """Ray could not be reached, or lost the job."""

    retryable = True


class StageError(JobError):
    """Code of a stage raised something that no failure code stands for."""
