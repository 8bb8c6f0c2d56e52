"""A run of tests that is ended from outside leaves no process and no file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.guardian import MARK, marked

ROOT = Path(__file__).parents[1]
TESTS = """
import os, subprocess, sys, time
from pathlib import Path

def test_it_waits(s3, tmp_path):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(900)"], start_new_session=True)
    told = Path(os.environ["TELL"])
    told.with_suffix(".part").write_text(os.environ["CF_TEST_RUN"])
    told.with_suffix(".part").rename(told)
    time.sleep(900)
"""


@pytest.mark.parametrize(
    ("ended_by", "options"),
    [(signal.SIGKILL, []), (signal.SIGTERM, []), (signal.SIGKILL, ["-n", "1"])],
    ids=["killed", "terminated", "killed with a worker"],
)
def test_a_run_that_is_ended_leaves_nothing(tmp_path: Path, ended_by: signal.Signals, options: list[str]) -> None:
    (tmp_path / "test_waiting.py").write_text(TESTS)
    told = tmp_path / "told"
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    # A run of its own, not a part of this one.
    environment = {name: value for name, value in os.environ.items() if name not in (MARK, "PYTEST_ADDOPTS")}
    with (tmp_path / "said").open("wb") as said:
        run = subprocess.Popen(
            [*command, "--rootdir", str(tmp_path), *options, str(tmp_path)],
            stdout=said,
            stderr=said,
            cwd=ROOT,
            env={**environment, "TELL": str(told)},
            start_new_session=True,
        )
    while not told.exists():
        assert run.poll() is None, (tmp_path / "said").read_text()
        time.sleep(0.05)
    folder = Path(told.read_text())
    alive = marked(folder)
    assert {"weed", Path(sys.executable).resolve().name} <= {Path(process.exe()).name for process in alive}
    run.send_signal(ended_by)
    run.wait(300)
    # Its folder goes last.
    deadline = time.monotonic() + 300
    while folder.exists():
        assert time.monotonic() < deadline, marked(folder)
        time.sleep(0.05)
    gone, left = psutil.wait_procs(alive, timeout=500)
    assert left == []
    assert gone
