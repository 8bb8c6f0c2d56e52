"""What a command costs with all the processes it starts, as the kernel counted it."""

import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import psutil

ROOT = Path(__file__).resolve().parent.parent

_SAMPLE_SECONDS = 0.25
_LEFT_SECONDS = 10.0
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of linux/prctl.h

# The hub is asked for nothing: a slow network must not show in a figure.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "DO_NOT_TRACK": "true",
    "PYTHONWARNINGS": "ignore",
}


class Usage(NamedTuple):
    """Attributes:
    began: When it started, seconds of Unix time.
    wall: Seconds by the clock.
    cpu: Seconds of user and system time, of the process and of all its descendants.
    peak_mb: The most memory that it and its descendants held at once: proportional set size, so that shared
        pages count once; sampled four times a second.
    output: What it printed.
    """

    began: float
    wall: float
    cpu: float
    peak_mb: float
    output: str


def measured(*command: str, python: str = sys.executable, environment: Mapping[str, str] | None = None) -> Usage:
    """Run `python -m command...` and wait for it; whatever it leaves running is ended.

    Raises:
        RuntimeError: It failed; the message ends in what it said.
    """
    # Orphans become children of this process, where their time can be had.
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    # Not a pipe: a daemon that keeps it open would keep the reader waiting.
    with tempfile.TemporaryFile("w+") as log:
        watch = _Watch()
        began, started = time.time(), time.perf_counter()
        process = subprocess.Popen(
            [python, "-m", *command],
            cwd=ROOT,
            env={**os.environ, **_ENVIRONMENT, **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        with watch:
            _, status, spent = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
        # wait4 took the child's end away from Popen, which would look for it.
        process.returncode = os.waitstatus_to_exitcode(status)
        waited = spent.ru_utime + spent.ru_stime + watch.end()
        log.seek(0)
        output = log.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{output[-4000:]}")
    # Each misses something: waiting those whose parent did not wait for them, as Ray's; watching the last moments.
    return Usage(began, wall, max(waited, watch.cpu), watch.peak / 2**20, output)


class _Watch:
    """Looks at all new descendants of this process, again and again.

    Attributes:
        peak: Bytes.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._spent: dict[tuple[int, float], float] = {}
        self._me = psutil.Process()
        self._others = {child.pid for child in self._me.children()}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def cpu(self) -> float:
        """Seconds that every process seen had spent when it was last seen."""
        return sum(self._spent.values())

    def end(self) -> float:
        """End what is left; the CPU-seconds of those that had become children of this process."""
        deadline = time.monotonic() + _LEFT_SECONDS
        spent = 0.0
        while left := self._ours():
            for child in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._count(child)
                    if time.monotonic() > deadline:
                        child.kill()
            for child in self._me.children():
                if child.pid not in self._others:
                    with contextlib.suppress(ChildProcessError):
                        pid, _, usage = os.wait4(child.pid, os.WNOHANG)
                        spent += usage.ru_utime + usage.ru_stime if pid else 0.0
            time.sleep(0.05)
        return spent

    def _look(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            held = 0
            for process in self._ours():
                # Between two looks anything may end.
                with contextlib.suppress(psutil.Error, OSError):
                    self._count(process)
                    held += process.memory_full_info().pss
            self.peak = max(self.peak, held)

    def _count(self, process: psutil.Process) -> None:
        times = process.cpu_times()
        self._spent[process.pid, process.create_time()] = times.user + times.system

    def _ours(self) -> list[psutil.Process]:
        found = []
        for child in self._me.children():
            if child.pid not in self._others:
                with contextlib.suppress(psutil.NoSuchProcess):
                    found += [child, *child.children(recursive=True)]
        return found
