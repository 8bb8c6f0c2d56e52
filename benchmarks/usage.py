"""What a command costs, as the kernel counted it."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Usage(NamedTuple):
    """Attributes:
    wall: Seconds by the clock.
    cpu: Seconds of user and system time, of the process and of the children it waited for.
    peak_mb: Peak resident memory of its largest process; none of the commands measured has a second.
    output: What it printed.
    """

    wall: float
    cpu: float
    peak_mb: float
    output: str


def measured(*command: str) -> Usage:
    """Run `python -m command...` and wait for it.

    The caller should be small: Linux counts the memory of the process that forks into its child's peak.

    Raises:
        RuntimeError: It failed; the message ends in what it said.
    """
    log = [sys.executable, "-m", *command]
    # The hub is asked for nothing: a slow network must not show in a figure.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    started = time.perf_counter()
    process = subprocess.Popen(
        log, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None  # asked for above
    output = process.stdout.read()
    _, status, spent = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    # wait4 took the child's end away from Popen, which would look for it.
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{_short(log)} ended with {process.returncode}:\n{output[-2000:]}")
    return Usage(wall, spent.ru_utime + spent.ru_stime, spent.ru_maxrss / 1024, output)


def _short(command: Sequence[str]) -> str:
    return " ".join(command[2:])
