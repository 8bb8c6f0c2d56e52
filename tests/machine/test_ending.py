"""Signals: one sentence and the documented exit code, wherever they strike."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from clipflow.cli.docstrings import _without_o
from clipflow.cli.ending import ending
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


def test_a_signal_that_python_loses_comes_again() -> None:
    class Closing:
        def __del__(self) -> None:
            # Nothing that is raised here gets out.
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    before = signal.getsignal(signal.SIGTERM)

    def lose() -> None:
        closing = Closing()
        del closing
        time.sleep(5)

    with pytest.raises(KeyboardInterrupt), ending() as asked:
        lose()
    assert asked()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_signal_that_is_to_be_ignored_is() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not asked()
    finally:
        signal.signal(signal.SIGHUP, before)


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
