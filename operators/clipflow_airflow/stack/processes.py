"""Whole families of processes: who belongs to one, and how to end it so that none is left.

A process's children are not enough: a Ray job's driver leads a session of its own, and children whose parent died
belong to nobody. So every process of a stack also carries a mark in its environment, which its descendants inherit.
"""

import contextlib
import json
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from clipflow.errors import UsageError

try:
    import psutil
except ImportError as error:
    raise UsageError("The stack needs psutil.", 'Install it: pip install "clipflow[stack]"') from error

__all__ = ["KEEP_ENVIRONMENT", "MARK", "end", "family", "gone", "psutil", "recall", "remember", "send"]

MARK = "CLIPFLOW_STACK"
# Programs that set their title write it over their environment, unless told not to.
KEEP_ENVIRONMENT = {"SPT_NOENV": "1"}


def family(roots: Iterable[psutil.Process], mark: str) -> set[psutil.Process]:
    """All living processes that descend from the roots or carry the mark."""
    found: set[psutil.Process] = set()
    for root in roots:
        found |= _tree(root)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            carried = process.environ().get(MARK, "")
            if carried == mark or carried.startswith(f"{mark}/"):
                found |= _tree(process)
    return {process for process in found if not gone(process)}


def end(roots: Iterable[psutil.Process], mark: str, patience: float, farewell: int = signal.SIGTERM) -> None:
    """End a family: the roots are asked, and whoever is left after `patience` seconds is killed."""
    roots = list(roots)
    members = family(roots, mark)
    for root in roots:
        send(root, farewell)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and not all(gone(member) for member in members):
        time.sleep(0.1)
    # What was started while we collected is found by the next round.
    for _ in range(20):
        members = {member for member in members if not gone(member)} | family(roots, mark)
        if not members:
            return
        for member in members:
            send(member, signal.SIGKILL)
        _await_gone(members, 5)


def send(process: psutil.Process, number: int) -> None:
    """Send a signal; a process that has ended is no error, and its number's next owner gets nothing."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended; a zombie that nobody collects counts."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def remember(path: Path, process: psutil.Process) -> None:
    """Write a pid file: a number alone would mean somebody else one day."""
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps({"pid": process.pid, "created": process.create_time()}), encoding="utf-8")
    draft.rename(path)


def recall(path: Path) -> psutil.Process | None:
    """The living process of a pid file, if it is still the same."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        process = psutil.Process(kept["pid"])
        same = abs(process.create_time() - kept["created"]) < 0.01
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    return process if same and not gone(process) else None


def _tree(root: psutil.Process) -> set[psutil.Process]:
    try:
        return {root, *root.children(recursive=True)}
    except psutil.NoSuchProcess:
        return set()


def _await_gone(processes: Iterable[psutil.Process], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(gone(process) for process in processes):
        time.sleep(0.02)
