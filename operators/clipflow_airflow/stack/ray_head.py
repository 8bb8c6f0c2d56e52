"""Ray of the stack: a cluster of one node on loopback that asks for a token."""

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from clipflow_airflow.stack import http
from clipflow_airflow.stack.errors import ServiceFailed
from clipflow_airflow.stack.home import Home
from clipflow_airflow.stack.ports import first_free, free_port
from clipflow_airflow.stack.service import Service

_WORKER_PORTS = 200
# On a busy machine Ray gives up after 30 seconds that no setting changes.
_TRIES = 3
# Before it says this, it may answer, and give up all the same.
_STARTED = "Ray runtime started."


class RayHead(Service):
    """A standing Ray; a context manager that leaves nothing behind.

    Args:
        home: Where its log goes.
        environment: Variables of its jobs, besides Ray's own.
        port: The dashboard's wanted port; None is any free one.
    """

    def __init__(self, home: Home, environment: Mapping[str, str], *, port: int | None = None) -> None:
        self.token = home.secret("ray-token")
        # Ray opens its folder to everybody, so it lies in one that only we may enter.
        folder = home.short_folder()
        low = free_port(beside=_WORKER_PORTS)
        workers = range(low, low + _WORKER_PORTS + 1)
        gcs, client, agent = (_outside(workers) for _ in range(3))
        dashboard = _outside(workers) if port is None else first_free(port)
        self.url = f"http://127.0.0.1:{dashboard}"
        self._agent = f"http://127.0.0.1:{agent}"
        command = [
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
            *("--node-ip-address=127.0.0.1", f"--port={gcs}"),
            *(f"--temp-dir={folder / 'r'}", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
            *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
            *(f"--min-worker-port={workers[0]}", f"--max-worker-port={workers[-1]}"),
            *("--object-store-memory=200000000", "--include-dashboard=true"),
        ]
        own = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self.token,
            # Else Ray listens on all interfaces.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        kept = {key: value for key, value in environment.items() if not key.startswith("RAY_")}
        super().__init__(home, "ray", command, kept | own, answers=self._ready)

    def connection(self, poll_seconds: float) -> str:
        """An Airflow connection to it, as JSON; it holds the token."""
        extra = {"poll_seconds": poll_seconds}
        return json.dumps({"conn_type": "ray", "host": self.url, "password": self.token, "extra": extra})

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs the head knows."""
        found: list[dict[str, Any]] = http.call(f"{self.url}/api/jobs/", token=self.token)
        return found

    def wait(self) -> None:
        """Return when it is healthy; a Ray that gave up is started again."""
        for _ in range(_TRIES - 1):
            try:
                return super().wait()
            except ServiceFailed:
                if self.ended is None:
                    raise
                self.end(0)
                self.start()
        return super().wait()

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self.home.remove_short()

    def _ready(self, _since: datetime) -> bool:
        if _STARTED not in self.said:
            return False
        # The head takes jobs only when its agent is up.
        http.call(f"{self._agent}/api/local_raylet_healthz", token=self.token)
        self.jobs()
        return True


def _outside(taken: range) -> int:
    return next(port for port in iter(free_port, None) if port not in taken)
