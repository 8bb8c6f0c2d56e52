"""One standing Ray for all tests, with a GPU that exists by name only."""

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

# As the engine does before it starts a Ray on loopback; read when Ray is imported.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "7" * 64}


@dataclass(frozen=True)
class StandingRay:
    """A Ray in a process of its own, which drivers can join and be killed beside."""

    address: str
    pid: int

    def workers(self) -> list[psutil.Process]:
        """Its processes that run an actor of Ray Data."""
        found = []
        for process in psutil.Process(self.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "MapWorker" in " ".join(process.cmdline()):
                    found.append(process)
        return found


@pytest.fixture(scope="session")
def standing_ray() -> Iterator[StandingRay]:
    said = ""
    # On a busy machine a Ray that starts gives up after 30 seconds, which no setting changes.
    for _ in range(5):
        with _starting() as (ray, log):
            if ray.address:
                yield ray
                return
            said = log.read_text(errors="replace")[-2000:]
    pytest.fail(f"no Ray came up: {said}")


@contextlib.contextmanager
def _starting() -> Iterator[tuple[StandingRay, Path]]:
    """A Ray that has come up, or one without an address; and its log."""
    code = (
        "import os, sys, time, logging\n"
        "from clipflow.engine.cluster import start_local\n"
        "start_local(cpus=2, gpus=1, folder=sys.argv[1])\n"
        "import ray\n"
        "print(ray.get_runtime_context().gcs_address, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with tempfile.TemporaryDirectory(prefix="cf-ray-", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "log")
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", code, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            # An empty line: it has ended.
            yield StandingRay(process.stdout.readline().strip(), process.pid), log
        finally:
            process.stdin.close()
            try:
                process.wait(300)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
            process.stdout.close()


@pytest.fixture
def joined_ray(standing_ray: StandingRay) -> Iterator[str]:
    """This process is a driver of the standing Ray for a while."""
    import ray

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(address=standing_ray.address, logging_level=logging.ERROR, log_to_driver=False)
        yield standing_ray.address
        ray.shutdown()
