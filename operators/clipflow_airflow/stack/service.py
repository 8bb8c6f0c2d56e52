"""One server of the stack: its session, its log file, its health, its end."""

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from clipflow_airflow.stack import processes
from clipflow_airflow.stack.errors import ApiError, ServiceFailed
from clipflow_airflow.stack.home import Home
from clipflow_airflow.stack.processes import psutil


class Service:
    """A server process that leads a session of its own.

    Args:
        home: Where its log and its pid file go.
        name: What people call it; names the files too.
        command: Program and arguments; no secret among them, since everybody can read them.
        environment: All its variables.
        answers: Whether it is healthy; gets the moment of its start.
        account: The system account that it runs under, if not ours.
        seconds: How long it may take to become healthy.
    """

    def __init__(
        self,
        home: Home,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        answers: Callable[[datetime], bool],
        account: str | None = None,
        seconds: float = 240,
    ) -> None:
        self.home = home
        self.name = name
        self.command = tuple(command)
        self.environment = {**environment, **processes.KEEP_ENVIRONMENT, processes.MARK: f"{home.mark}/{name}"}
        self.log = home.logs / f"{name}.log"
        self._answers = answers
        self._account = account
        self._seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None
        self._since = datetime.now(UTC)
        self._clock = 0.0
        self._log_start = 0

    @property
    def mark(self) -> str:
        """What its processes carry in their environment."""
        return f"{self.home.mark}/{self.name}"

    @property
    def process(self) -> psutil.Process:
        """The server's first process.

        Raises:
            ServiceFailed: It does not run.
        """
        if self._child is None or self._child.poll() is not None:
            raise ServiceFailed(f"The service {self.name} does not run.", "Start it.")
        return psutil.Process(self._child.pid)

    @property
    def ended(self) -> int | None:
        """Its exit code, if it was started and has ended."""
        return None if self._child is None else self._child.poll()

    def prepare(self) -> None:
        """What must be there before it starts."""

    @property
    def said(self) -> str:
        """What it has logged since it was started."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def start(self) -> None:
        """Start it, and do not wait."""
        self.prepare()
        self._since, self._clock = datetime.now(UTC), time.monotonic()
        as_other = {} if self._account is None else {"user": self._account, "group": self._account, "extra_groups": []}
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._child = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **as_other,  # type: ignore[call-overload]
            )
        processes.remember(self.home.run / f"{self.name}.pid", psutil.Process(self._child.pid))

    def wait(self) -> None:
        """Return when it is healthy.

        Raises:
            ServiceFailed: It ended, or took too long.
        """
        while not self._healthy():
            if (code := self.ended) is not None:
                raise self._failed(f"ended with exit code {code} before it was healthy")
            if time.monotonic() - self._clock > self._seconds:
                raise self._failed(f"was not healthy after {self._seconds:.0f} seconds")
            time.sleep(0.3)

    def kill(self, number: int) -> None:
        """Send a signal to the whole family at once; after SIGKILL, return when all have ended."""
        roots = self._roots()
        if number == signal.SIGKILL:
            processes.end(roots, self.mark, 0, number)
            self._collect()
        else:
            for member in processes.family(roots, self.mark):
                processes.send(member, number)

    def ask(self) -> None:
        """Ask it to end, and do not wait."""
        for root in self._roots():
            processes.send(root, self.farewell)

    def end(self, patience: float = 10) -> None:
        """End it and all that it started."""
        processes.end(self._roots(), self.mark, patience, self.farewell)
        self._collect()

    @property
    def farewell(self) -> int:
        """The signal that asks it to end."""
        return signal.SIGTERM

    def _roots(self) -> list[psutil.Process]:
        try:
            return [self.process]
        except (ServiceFailed, psutil.NoSuchProcess):
            return []

    def _collect(self) -> None:
        if self._child is not None:
            self._child.wait(10)
        (self.home.run / f"{self.name}.pid").unlink(missing_ok=True)

    def _healthy(self) -> bool:
        try:
            return self._answers(self._since)
        except (OSError, ValueError, ApiError):
            # Servers that come up refuse connections first, and then say that they are not ready.
            return False

    def _failed(self, what: str) -> ServiceFailed:
        return ServiceFailed(f"The service {self.name} {what}{_last_line(self.said)}.", f"Look into {self.log}")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return f": {lines[-1].strip().rstrip('.')}" if lines else ""
