"""`clipflow` commands in processes of their own, which tests watch and kill.

They are forked from a server that has imported the engine once: a cold start costs two seconds of a core, and the
kill tests alone need seventy. No dataset was opened before the fork, which Lance would not bear.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests import guardian

# For tests with processes of their own making too: what they import first is there already.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.preloaded"])
# Before a machine counts as stuck, not as busy.
PATIENCE = 300.0


class Driver:
    """A command under way.

    Args:
        words: As after `clipflow`.
        gate: While this file is there, a stub encoder with the option `gate` waits; see the plugin.
        one_cpu: Whether it may use one core only: then it works at one batch at a time, in their order.

    Attributes:
        pid: Its process, which leads a group of its own.
    """

    def __init__(self, *words: object, gate: Path | None = None, one_cpu: bool = False) -> None:
        self._words = tuple(map(str, words))
        self._folder = guardian.folder("driver-")
        arguments = (
            self._words,
            self._folder,
            {**os.environ, **({"CF_TEST_GATE": str(gate)} if gate else {})},
            Path.cwd(),
            one_cpu,
        )
        self._process = FORKS.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code, if it has ended; -9 after SIGKILL."""
        return self._process.exitcode

    def wait(self, seconds: float = PATIENCE) -> int:
        """The exit code, when it has ended."""
        self._process.join(seconds)
        code = self.poll()
        assert code is not None, f"not over after {seconds:.0f} s: clipflow {' '.join(self._words)}\n{self.log}"
        return code

    def kill(self) -> bool:
        """SIGKILL to its whole group; whether it was still at work."""
        alive = self.poll() is None
        if alive:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                # It has not come as far as its own group, or is over.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
        self._process.join(PATIENCE)
        return alive and self.poll() == -signal.SIGKILL

    def until(self, holds: Callable[[], object], what: str) -> bool:
        """Wait for an event while it works; False when it ended before."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if self.poll() is not None:
                return False
            assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what}\n{self.log}"
            time.sleep(0.002)
        return True

    @property
    def said(self) -> str:
        """What it has printed."""
        return self._read("out")

    @property
    def log(self) -> str:
        """The end of what it has told on stderr."""
        return self._read("err")[-2000:]

    def _read(self, name: str) -> str:
        path = self._folder / name
        return path.read_text(errors="replace") if path.exists() else ""


def versions(table: Path | str) -> int:
    """How many versions a local table has: the event that a driver's commit is."""
    return _files(Path(table, "_versions"), ".manifest")


def fragments(table: Path | str) -> int:
    """How many files of rows lie in a local table, committed or only staged."""
    return _files(Path(table, "data"), ".lance")


def _files(folder: Path, end: str) -> int:
    try:
        # A file that is being written has another end, or begins with a point.
        return sum(entry.name.endswith(end) and entry.name[0] != "." for entry in os.scandir(folder))
    except FileNotFoundError:
        return 0


def _run(words: tuple[str, ...], folder: Path, environment: dict[str, str], cwd: Path, one_cpu: bool) -> None:
    os.setsid()
    if one_cpu:
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    for name, number in (("out", 1), ("err", 2)):
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(handle, number)
        os.close(handle)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    from clipflow.cli import main

    sys.exit(main(words))
