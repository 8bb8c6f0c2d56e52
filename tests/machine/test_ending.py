"""Signals: one sentence and the documented exit code, wherever they strike."""

import json
import os
import signal
import subprocess
import sys

import pytest

from clipflow.cli.docstrings import _without_o
from tests.catalogues import draw
from tests.drivers import Driver, versions
from tests.machine.commands import Home


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_ended(home: Home, number: int) -> None:
    draw(home.images, range(40))
    gate = home.images.parent / "gate"
    gate.touch()
    words = ["--set", "encoder.model=stub:dim=16,gate=16", "--set", "table.commit_rows=8"]
    driver = Driver("run", home.job, *words, "--json", gate=gate)
    runs = home.table.with_name("t_runs.lance")
    assert driver.until(lambda: versions(runs) >= 2, "its row in the runs table")
    os.kill(driver.pid, number)
    # A process group is often told twice.
    os.kill(driver.pid, number)
    gate.unlink()
    assert driver.wait() == 1
    error = json.loads(driver.said)["error"]
    assert (error["class"], error["retryable"]) == ("Interrupted", True)
    assert "Traceback" not in driver.log
    assert driver.log.count("clipflow: Interrupted") == 1


LOSING = """
import os, signal, time
from clipflow.cli.ending import ending

class Closing:
    def __del__(self):
        # Nothing that is raised here gets out.
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)

def lose():
    closing = Closing()
    del closing
    time.sleep(600)

before = signal.getsignal(signal.SIGTERM)
try:
    with ending() as asked:
        lose()
except KeyboardInterrupt:
    assert asked()
assert signal.getsignal(signal.SIGTERM) is before
print("ended")
"""
IGNORING = """
import os, signal
from clipflow.cli.ending import ending

signal.signal(signal.SIGHUP, signal.SIG_IGN)
with ending() as asked:
    os.kill(os.getpid(), signal.SIGHUP)
assert not asked()
print("ended")
"""


@pytest.mark.parametrize("script", [LOSING, IGNORING], ids=["that Python loses comes again", "to be ignored is"])
def test_a_signal(script: str) -> None:
    # Elsewhere: a signal of this process may reach whoever waits for its tests.
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "ended\n"), done.stderr


def test_the_words_of_a_python_without_docstrings() -> None:
    for words, kept in (
        ("python -OO -m clipflow run -OO", "python -m clipflow run -OO"),
        ("python -OOs /bin/clipflow run x", "python -s /bin/clipflow run x"),
        ("python -O -O -X dev -m clipflow", "python -X dev -m clipflow"),
        ("python /bin/clipflow --OO", "python /bin/clipflow --OO"),
    ):
        assert _without_o(words.split()) == kept.split()


def test_a_whole_run_without_docstrings(home: Home) -> None:
    """transformers cannot be imported without them; the encoder that ships with clipflow needs it."""
    words = ["run", str(home.job), "--set", "encoder={model: demo}", "--ray", "none", "--json"]
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "clipflow", *words], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["embedded"] == 4
