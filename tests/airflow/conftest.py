"""A throw-away Airflow in this process, and a Ray head with its Jobs REST, both on loopback."""

import atexit
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from clipflow_airflow.sandbox import Sandbox
from tests.s3 import free_port

ROOT = Path(__file__).parents[2]
# Airflow reads its configuration on first import, which the test modules beside us do when they are collected.
HOME = Path(tempfile.mkdtemp(prefix="cf-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
SANDBOX = Sandbox(HOME, ROOT / "dags")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import airflow.sdk

    assert airflow.sdk.__version__

TOKEN = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    SANDBOX.open()
    return SANDBOX


@dataclass(frozen=True)
class RayHead:
    """A standing cluster of one node that asks for a token."""

    url: str
    token: str

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs the head knows."""
        found: list[dict[str, Any]] = json.loads(_get(f"{self.url}/api/jobs/", self.token))
        return found


@pytest.fixture(scope="session")
def ray_head() -> Iterator[RayHead]:
    # A unix socket's path holds 107 characters, and Ray makes long ones.
    folder = Path(tempfile.mkdtemp(prefix="cf", dir="/tmp"))
    gcs, dashboard, agent, client = (free_port() for _ in range(4))
    low = free_port()
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"),
        *("--node-ip-address=127.0.0.1", f"--port={gcs}", "--num-cpus=2", f"--temp-dir={folder}"),
        *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"),
        *(f"--ray-client-server-port={client}", f"--min-worker-port={low}", f"--max-worker-port={low + 200}"),
        *("--object-store-memory=200000000", "--include-dashboard=true"),
    ]
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith("RAY_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    log = (folder / "head.log").open("wb")
    head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{dashboard}"
        _await_answer(head, url, folder / "head.log")
        yield RayHead(url, TOKEN)
    finally:
        _end(head)
        log.close()
        shutil.rmtree(folder, ignore_errors=True)


def _await_answer(head: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and head.poll() is None:
        try:
            _get(f"{url}/api/jobs/", TOKEN)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise RuntimeError(f"The Ray head did not come up:\n{log.read_text()[-3000:]}")


def _get(url: str, token: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        body: bytes = answer.read()
        return body


def _end(head: subprocess.Popen[bytes]) -> None:
    """End the head and what it started; a job's driver leads a process group of its own."""
    try:
        family = psutil.Process(head.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    os.killpg(head.pid, signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=3)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(head.pid, signal.SIGKILL)
    head.wait(10)
