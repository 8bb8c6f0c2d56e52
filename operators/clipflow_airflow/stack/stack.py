"""All of it together: PostgreSQL, Ray, Airflow's four processes, one home, one end."""

import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from signal import SIGKILL
from types import TracebackType
from typing import Any, Self

from clipflow.errors import UsageError
from clipflow_airflow.stack import components, defaults, postgres
from clipflow_airflow.stack.dags import await_dags
from clipflow_airflow.stack.database import CHOICES, choose, sqlite
from clipflow_airflow.stack.ending import announce, running, sweep
from clipflow_airflow.stack.environment import inherited
from clipflow_airflow.stack.errors import ServiceFailed, StackRuns
from clipflow_airflow.stack.home import Home
from clipflow_airflow.stack.ports import first_free, free_port
from clipflow_airflow.stack.processes import psutil
from clipflow_airflow.stack.ray_head import RayHead
from clipflow_airflow.stack.service import Service
from clipflow_airflow.stack.trial import Trial, trial

RAY_PORT = 8265
# Ray drains for 30 seconds, and a task for as long as it works; both bear being killed.
_LAST_WORDS = 8.0


class Stack:
    """The real Airflow on loopback, with a Ray beside it; a context manager.

    Args:
        home: The folder with its history; kept.
        dags: The folder of DAG files.
        port: The web UI's wanted port; the next free one is taken when it is busy, None is any.
        database: `postgresql`, `sqlite`, or `auto`: what the home has, else PostgreSQL where it is installed.
        ray: Whether a Ray head stands beside it.
        environment: Variables of every process, over all others.
        say: Takes the lines that tell how far it is.
    """

    user = components.USER

    def __init__(
        self,
        home: Path,
        dags: Path,
        *,
        port: int | None = None,
        database: str = "auto",
        ray: bool = True,
        environment: Mapping[str, str] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        if database not in CHOICES:
            raise UsageError(f"There is no database {database!r}.", f"Choose one of {', '.join(CHOICES)}.")
        if not dags.is_dir():
            raise UsageError(f"There is no folder {dags}.", "Name the folder of the DAG files by --dags.")
        self.home = Home(home)
        self.dags = dags.absolute()
        self.trial: Trial | None = None
        self._wanted = {"port": port, "database": database, "ray": ray}
        self._given = dict(environment or {})
        self._say = say
        self._services: dict[str, Service] = {}
        self._database: postgres.PostgreSQL | None = None
        self._ray: RayHead | None = None
        self._api: components.AirflowApi | None = None
        self._environment: dict[str, str] = {}
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    @property
    def url(self) -> str:
        """Where the web UI and the API answer."""
        return self._rest.url

    @property
    def password(self) -> str:
        """The admin's password."""
        return components.password(self.home)

    @property
    def ray_url(self) -> str:
        """Ray's dashboard and its Jobs REST."""
        return self._head.url

    @property
    def ray_token(self) -> str:
        """The token that Ray asks for."""
        return self._head.token

    @property
    def services(self) -> tuple[str, ...]:
        """The names of what runs."""
        return tuple(self._services)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the `airflow` command needs to work on this stack; secrets among it."""
        return dict(self._environment)

    def up(self) -> None:
        """Bring everything up; returns when all is healthy and the DAG files are read.

        Raises:
            StackRuns: A stack is alive in this home.
            ServiceFailed: A process did not become healthy; everything is down again.
        """
        self.home.make()
        if not self.home.take():
            raise StackRuns(
                running(self.home), "End it by `python -m clipflow_airflow.stack down`, or name another --home."
            )
        try:
            if sweep(self.home):
                self._say("Cleaned up after a stack that was killed")
            announce(self.home)
            self._up()
        except BaseException:
            self.down()
            raise

    def down(self) -> None:
        """End everything; nothing is left, and the history stays. Without effect when it is not up."""
        if not self.home.taken:
            return
        # The database goes last: the others write their last words there.
        before = [service for service in self._services.values() if service is not self._database]
        for service in before:
            service.ask()
        deadline = time.monotonic() + _LAST_WORDS
        for service in before:
            service.end(max(0.0, deadline - time.monotonic()))
        if self._database is not None:
            self._database.end(_LAST_WORDS)
        self._services, self._ray, self._database = {}, None, None
        sweep(self.home)
        self.home.release()

    def process(self, name: str) -> psutil.Process:
        """The first process of a service: api-server, scheduler, triggerer, dag-processor, ray or postgresql."""
        return self._service(name).process

    def kill(self, name: str, signal: int = SIGKILL) -> None:
        """Send a signal to a service's whole process tree, as a power cut would; SIGKILL waits for the end."""
        self._service(name).kill(signal)

    def start(self, name: str) -> None:
        """Start a service again, with the same ports and variables; returns when it is healthy.

        Airflow's processes are asked about by the API, so it and the database must be up.
        """
        service = self._service(name)
        if service.ended is None:
            raise UsageError(f"The service {name} runs already.", "Kill it first.")
        # What the dead one left would hold its ports.
        service.end(0)
        service.start()
        service.wait()

    def ended(self) -> dict[str, int]:
        """The services that have ended, by their exit code."""
        codes = {name: service.ended for name, service in self._services.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def get(self, path: str) -> Any:
        """Airflow's REST below /api/v2, as the admin."""
        return self._rest.call("GET", path)

    def post(self, path: str, body: Any = None) -> Any:
        """As `get`."""
        return self._rest.call("POST", path, body)

    def patch(self, path: str, body: Any = None) -> Any:
        """As `get`."""
        return self._rest.call("PATCH", path, body)

    def delete(self, path: str, body: Any = None) -> Any:
        """As `get`."""
        return self._rest.call("DELETE", path, body)

    def airflow(self, *words: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the `airflow` command on this stack."""
        command = [*components.AIRFLOW, *words]
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False, timeout=seconds
        )

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs that Ray knows."""
        return self._head.jobs()

    def _up(self) -> None:
        self._began, since = time.monotonic(), datetime.now(UTC)
        given = self._environment = inherited() | self._given
        database = self._open_database()
        if self._wanted["ray"]:
            wanted = None if self._wanted["port"] is None else RAY_PORT
            self._ray = RayHead(self.home, self._environment, port=wanted)
            self._add(self._ray).start()
        port = self._free_port()
        if "CLIPFLOW_JOB_FILE" not in given:
            self.trial = trial(self.home.path / "trial")
        settings = components.settings(self.home, self.dags, port, database)
        self._environment = given | settings | defaults.variables(self._ray, self.trial, given) | self._given
        self._api = components.AirflowApi(f"http://127.0.0.1:{port}", self.password)
        self._migrate()
        if self._ray is not None:
            # Ray gives up when it starts too slowly, so the others do not start beside it.
            self._await(self._ray)
        started = [self._add(service) for service in components.services(self.home, self._environment, self._api)]
        for service in started:
            service.start()
        for service in started:
            self._await(service)
        defaults.make_pool(self._api)
        read = await_dags(self._api, self.dags, since)
        for line in read.broken:
            self._say(line)
        self._tell(f"{len(read.dag_ids)} DAGs are read")

    def _open_database(self) -> dict[str, str]:
        """Start the database where it is a server; its addresses."""
        if choose(str(self._wanted["database"]), self.home, self._say) == "sqlite":
            return {"sql_alchemy_conn": f"sqlite:///{sqlite(self.home)}"}
        self._database = postgres.PostgreSQL(self.home)
        self._add(self._database).start()
        self._await(self._database)
        if self._database.elsewhere:
            self._say(f"Its files lie in {self._database.elsewhere}, since its account may not enter {self.home.path}")
        url = self._database.url
        return {"sql_alchemy_conn": url("psycopg2"), "sql_alchemy_conn_async": url("asyncpg")}

    def _free_port(self) -> int:
        wanted = self._wanted["port"]
        if wanted is None:
            return free_port()
        found = first_free(int(wanted))
        if found != wanted:
            self._say(f"Port {wanted} is busy, so {found} is taken")
        return found

    def _migrate(self) -> None:
        done = self.airflow("db", "migrate", seconds=300)
        (self.home.logs / "migrate.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode:
            raise ServiceFailed("`airflow db migrate` failed.", f"Look into {self.home.logs / 'migrate.log'}")
        self._tell("Airflow's tables are laid out")

    def _add(self, service: Service) -> Service:
        self._services[service.name] = service
        return service

    def _await(self, service: Service) -> None:
        service.wait()
        self._tell(f"{_TITLES[service.name]} is up")

    def _tell(self, what: str) -> None:
        self._say(f"{what} ({time.monotonic() - self._began:.0f} s)")

    def _service(self, name: str) -> Service:
        if name not in self._services:
            raise UsageError(f"There is no service {name!r}.", f"There are {', '.join(self._services) or 'none'}.")
        return self._services[name]

    @property
    def _rest(self) -> components.AirflowApi:
        if self._api is None:
            raise UsageError("The stack is not up.", "Call `up` first.")
        return self._api

    @property
    def _head(self) -> RayHead:
        if self._ray is None:
            raise UsageError("The stack has no Ray, or is not up.", "Bring it up with Ray.")
        return self._ray


_TITLES = {
    "postgresql": "PostgreSQL",
    "ray": "Ray",
    "api-server": "The api-server",
    "scheduler": "The scheduler",
    "triggerer": "The triggerer",
    "dag-processor": "The dag-processor",
}
