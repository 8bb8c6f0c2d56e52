"""What can go wrong with the stack."""

from clipflow.errors import JobError, UsageError


class StackRuns(UsageError):
    """A stack is alive in this home already."""


class ServiceFailed(JobError):
    """A process of the stack ended, or did not become healthy in time."""


class ApiError(JobError):
    """Airflow's REST API answered with an error.

    Args:
        status: The HTTP status.
    """

    def __init__(self, message: str, mend: str = "", *, status: int = 0) -> None:
        super().__init__(message, mend)
        self.status = status
