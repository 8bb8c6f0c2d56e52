"""Log lines on their way from a trigger into the task's log.

The triggerer's supervisor reads log and requests from two sockets, at most `READ_BYTES` of log in each turn of its
loop, and closes a task's log as soon as it hears that the trigger has ended (airflow.jobs.triggerer_job_runner and
sdk.execution_time.supervisor, 3.3). What has not been read by then is lost, so a trigger that has told much waits
before it ends. A request is answered in one turn: so many answers mean that so much has been read.
"""

from collections.abc import Awaitable, Callable

READ_BYTES = 4096
_LINE_BYTES = 500
"""What a line weighs beside its text: its time, its logger, its task, as JSON."""
_MOST_TURNS = 1000


class Backlog:
    """The bytes of all triggers of a process that the supervisor may not have read yet."""

    def __init__(self) -> None:
        self._bytes = 0

    def add(self, line: str) -> None:
        """A line was written."""
        self._bytes += len(line) * 2 + _LINE_BYTES

    def answered(self) -> None:
        """The supervisor answered a request."""
        self._bytes = max(0, self._bytes - READ_BYTES)

    async def drain(self, ask: Callable[[], Awaitable[object]]) -> None:
        """Send requests until all that was written is read.

        Args:
            ask: Sends one request to the supervisor, and waits for its answer.
        """
        # One turn more, for what stood before the first line that was counted.
        turns = min(self._bytes // READ_BYTES + 2, _MOST_TURNS)
        for _ in range(turns):
            await ask()
            self.answered()
