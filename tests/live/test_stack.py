"""The stack that `make airflow` brings up: healthy, on loopback, silent about secrets, and gone when it is ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from clipflow_airflow.stack import Stack, processes
from clipflow_airflow.stack.environment import inherited
from clipflow_airflow.stack.home import Home
from clipflow_airflow.stack.ports import free_port

pytestmark = pytest.mark.timeout(1000)

SERVICES = ("postgresql", "ray", "api-server", "scheduler", "triggerer", "dag-processor")
READY = "Ctrl-C ends it; the history stays."


def call(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clipflow_airflow.stack", *words]
    return subprocess.run(command, env=inherited(), capture_output=True, text=True, timeout=500)


def members(home: Path) -> set[psutil.Process]:
    return processes.family([], Home(home).mark)


def listening(family: set[psutil.Process]) -> list[tuple[str, int]]:
    found = []
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [one.laddr for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    return [(address.ip.removeprefix("::ffff:"), address.port) for address in found]


def test_all_is_healthy(stack: Stack) -> None:
    assert set(stack.services) == set(SERVICES)
    health = stack.get("/monitor/health")
    assert {part["status"] for part in health.values()} == {"healthy"}
    assert len(health) == 4
    assert stack.ended() == {}
    assert stack.get("/importErrors")["import_errors"] == []
    assert {"clip_embed_daily", "nap"} <= {dag["dag_id"] for dag in stack.get("/dags")["dags"]}
    pool = stack.get("/pools/clipflow_gpu")
    assert (pool["slots"], pool["include_deferred"]) == (1, True)
    assert isinstance(stack.jobs(), list)


def test_the_command_works_on_it(stack: Stack) -> None:
    done = stack.airflow("db", "check")
    assert done.returncode == 0, done.stderr
    said = stack.airflow("connections", "get", "ray_default", "-o", "plain")
    assert stack.ray_url in said.stdout


def test_every_port_is_on_loopback(stack: Stack) -> None:
    ports = listening(members(stack.home.path))
    assert {address for address, _ in ports} == {"127.0.0.1"}
    for url in (stack.url, stack.ray_url):
        assert int(url.rpartition(":")[2]) in {port for _, port in ports}


def test_every_process_carries_the_mark(stack: Stack) -> None:
    roots = [stack.process(name) for name in SERVICES]
    marked = members(stack.home.path)
    assert set(roots) <= marked
    born = {process for root in roots for process in root.children(recursive=True)}
    # What was born meanwhile is not in the older of the two lists.
    assert {process for process in born - marked if not processes.gone(process)} <= members(stack.home.path)


def test_no_secret_is_in_sight(stack: Stack) -> None:
    secrets = {path.name: path.read_text().strip() for path in stack.home.secrets.iterdir()}
    secrets["password"] = stack.password
    assert len(secrets) == 7
    for path in stack.home.secrets.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    words = "\n".join(
        word for process in members(stack.home.path) if not processes.gone(process) for word in cmdline(process)
    )
    logs = "\n".join(log.read_text(errors="replace") for log in stack.home.logs.iterdir())
    assert "airflow" in words
    for name, secret in secrets.items():
        assert secret not in words, name
        assert secret not in logs, name


def cmdline(process: psutil.Process) -> list[str]:
    try:
        found: list[str] = process.cmdline()
    except psutil.NoSuchProcess:
        return []
    return found


def test_a_killed_service_starts_again(stack: Stack) -> None:
    killed = stack.process("scheduler")
    workers = killed.children(recursive=True)
    assert workers
    stack.kill("scheduler")
    assert all(processes.gone(process) for process in [killed, *workers])
    assert stack.ended() == {"scheduler": -signal.SIGKILL}
    stack.start("scheduler")
    assert stack.process("scheduler") != killed
    assert stack.ended() == {}
    assert stack.get("/monitor/health")["scheduler"]["status"] == "healthy"


def test_after_a_power_cut_all_starts_again_with_its_history(stack: Stack) -> None:
    ports = stack.url, stack.ray_url
    stack.post("/variables", {"key": "before", "value": "the cut"})
    for name in reversed(SERVICES):
        stack.kill(name)
    assert set(stack.ended()) == set(SERVICES)
    assert not members(stack.home.path)
    for name in SERVICES:
        stack.start(name)
    assert stack.ended() == {}
    assert (stack.url, stack.ray_url) == ports
    assert stack.get("/variables/before")["value"] == "the cut"
    stack.delete("/variables/before")
    assert stack.jobs() == []


@pytest.fixture(scope="module", autouse=True)
def coming_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Foreground"]:
    """A stack in the foreground of another process: SQLite and no Ray. It comes up while other tests run."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "dags").mkdir()
    (folder / "dags" / "broken.py").write_text("from airflow.sdk import DAG\n\nDAG(nonsense)\n")
    running = Foreground(folder)
    running.start()
    try:
        yield running
    finally:
        call("down", "--home", str(running.home))
        running.process.wait(300)


@pytest.fixture(scope="module")
def small(coming_up: "Foreground") -> "Foreground":
    """The same, when it is up."""
    coming_up.wait()
    return coming_up


class Foreground:
    """`up` as a newcomer runs it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.dags, self.said = folder / "home", folder / "dags", folder / "said"
        self.port = free_port()
        self.words = ["--home", str(self.home), "--dags", str(self.dags), "--port", str(self.port)]

    def start(self) -> None:
        """Start it, and do not wait."""
        command = [sys.executable, "-m", "clipflow_airflow.stack", "up", *self.words, "--database=sqlite", "--no-ray"]
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(command, env=inherited(), stdout=said, stderr=said, start_new_session=True)

    def wait(self) -> None:
        """Return when it says that it is up."""
        deadline = time.monotonic() + 400
        while READY not in self.said.read_text():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < deadline, self.said.read_text()
            time.sleep(0.3)

    def answers(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0


def test_a_second_up_says_so_and_harms_nothing(small: Foreground) -> None:
    before = members(small.home)
    assert before
    done = call("up", *small.words, "--no-ray")
    assert done.returncode == 2
    assert f"An Airflow runs in {small.home} already (process {small.process.pid})." in done.stderr
    assert {process for process in before if not processes.gone(process)} == before
    assert small.answers()


def test_it_says_what_is_not_as_wished(small: Foreground) -> None:
    said = small.said.read_text()
    assert "a backfill ends in “database is locked”" in said
    assert "broken.py does not import: NameError: name 'nonsense' is not defined" in said


def test_it_prints_the_login_and_no_other_secret(small: Foreground) -> None:
    said = small.said.read_text()
    assert f"http://127.0.0.1:{small.port}" in said
    for path in (small.home / "secrets").iterdir():
        if path.name != "passwords.json":
            assert path.read_text().strip() not in said, path.name
    password = said.partition("password ")[2].split()[0]
    assert f'"{password}"' in (small.home / "secrets" / "passwords.json").read_text()


def test_what_dies_is_started_again(small: Foreground) -> None:
    killed = processes.recall(small.home / "run" / "triggerer.pid")
    assert killed is not None
    killed.kill()
    deadline = time.monotonic() + 400
    while (again := processes.recall(small.home / "run" / "triggerer.pid")) in (None, killed):
        assert time.monotonic() < deadline, small.said.read_text()
        time.sleep(0.3)
    assert again is not None
    assert "The service triggerer ended with exit code -9; it is started again" in small.said.read_text()


def test_down_ends_a_killed_foreground(small: Foreground) -> None:
    os.kill(small.process.pid, signal.SIGKILL)
    small.process.wait(100)
    assert len(members(small.home)) >= 4
    done = call("down", "--home", str(small.home))
    assert (done.returncode, done.stdout) == (0, "Airflow is down.\n")
    assert not members(small.home)
    assert not small.answers()
    assert call("down", "--home", str(small.home)).stdout == f"No Airflow runs in {small.home}.\n"


def test_an_up_after_a_kill_cleans_up_first_and_down_ends_it(small: Foreground) -> None:
    # Killed while it comes up, some of its services only just born.
    small.start()
    deadline = time.monotonic() + 400
    while not (small.home / "run" / "scheduler.pid").exists():
        assert time.monotonic() < deadline, small.said.read_text()
        time.sleep(0.02)
    os.kill(small.process.pid, signal.SIGKILL)
    small.process.wait(100)
    first = members(small.home)
    assert first
    small.start()
    small.wait()
    assert "Cleaned up after a stack that was killed" in small.said.read_text()
    assert all(processes.gone(process) for process in first)
    assert small.answers()
    assert call("down", "--home", str(small.home)).stdout == "Airflow is down.\n"
    assert small.process.wait(300) == 0
    assert "Airflow is down. Its history stays" in small.said.read_text()
    assert not members(small.home)
    assert not small.answers()
    assert sorted(path.name for path in (small.home / "run").iterdir()) == ["lock", "mark"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["up", "--port", "0"], "'0' is no port"),
        (["up", "--port", "many"], "'many' is no port"),
        (["up", "--database", "oracle"], "invalid choice: 'oracle'"),
        (["sideways"], "invalid choice: 'sideways'"),
        ([], "verb"),
        (["up", "--dags", "/no/such/folder"], "There is no folder /no/such/folder."),
    ],
)
def test_a_wrong_call_is_one_sentence(words: list[str], sentence: str, tmp_path: Path) -> None:
    done = call(*words, *(["--home", str(tmp_path / "home")] if words[:1] == ["up"] else []))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "home").exists()


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    thesis = tmp_path / "thesis.txt"
    thesis.write_text("three years of work")
    done = call("up", "--home", str(tmp_path), "--dags", str(tmp_path))
    assert done.returncode == 2
    assert "is not empty" in done.stderr
    assert list(tmp_path.iterdir()) == [thesis]


def test_a_recycled_pid_is_nobody(tmp_path: Path) -> None:
    ours = psutil.Process()
    processes.remember(tmp_path / "x.pid", ours)
    assert processes.recall(tmp_path / "x.pid") == ours
    kept = (tmp_path / "x.pid").read_text().replace(str(ours.create_time()), str(ours.create_time() - 60))
    (tmp_path / "x.pid").write_text(kept)
    assert processes.recall(tmp_path / "x.pid") is None
