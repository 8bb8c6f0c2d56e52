"""Who runs a home, and the end of whatever runs there, also when its own process is dead."""

import time
from signal import SIGKILL, SIGTERM

from clipflow_airflow.stack import processes
from clipflow_airflow.stack.errors import ServiceFailed
from clipflow_airflow.stack.home import Home
from clipflow_airflow.stack.processes import psutil

_FOREGROUND = "foreground.pid"


def announce(home: Home) -> None:
    """Write down that it is this process that runs the home."""
    processes.remember(home.run / _FOREGROUND, psutil.Process())


def running(home: Home) -> str:
    """One sentence about the stack that holds the home."""
    owner = processes.recall(home.run / _FOREGROUND)
    return f"An Airflow runs in {home.path} already{'' if owner is None else f' (process {owner.pid})'}."


def sweep(home: Home) -> bool:
    """End what a dead stack left, and remove its traces; whether there was a process. The caller holds the home."""
    roots = [found for path in home.run.glob("*.pid") if (found := processes.recall(path)) is not None]
    # Our own pid is among them when the caller is the one that goes down.
    roots = [root for root in roots if root != psutil.Process()]
    left = bool(processes.family(roots, home.mark))
    if left:
        processes.end(roots, home.mark, 5)
    for path in home.run.glob("*.pid"):
        path.unlink(missing_ok=True)
    home.remove_short()
    return left


def down(home: Home, seconds: float = 60) -> bool:
    """End the stack of a home, wherever it was started; whether there was one."""
    if not home.exists:
        return False
    owner = processes.recall(home.run / _FOREGROUND)
    found = False
    if not home.take():
        found = True
        if owner is not None:
            processes.send(owner, SIGTERM)
        deadline = time.monotonic() + seconds
        while not home.take():
            if time.monotonic() > deadline:
                if owner is None:
                    raise ServiceFailed(f"{home.path} is held by a process that left no pid file.", "End it by hand.")
                processes.send(owner, SIGKILL)
                deadline += seconds
            time.sleep(0.1)
    try:
        return sweep(home) or found
    finally:
        home.release()
