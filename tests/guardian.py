"""Whoever ends a test run, and however: what it started ends with it.

A process of its own holds the reading end of a pipe whose other end only the test process has. When that process is
gone, by its own end, by SIGKILL or by a time-out of CI, the pipe closes, and everything that carries the run's mark
in its environment is killed, with all its descendants. A signal on the parent's death would not do: `runuser` and
Ray's own starters lose it, and PostgreSQL's processes belong to another account.

    python -m tests.guardian FOLDER     ends what belongs to FOLDER when its standard input closes
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

# Its value is the folder of the run; children and grandchildren inherit it.
MARK = "CF_TEST_RUN"
_HOMES = "homes"


class Guardian:
    """Watches this process from another one, from `start` to `stop`."""

    def start(self) -> None:
        """Make the run's folder, mark all children to come, and begin to watch."""
        folder = Path(tempfile.mkdtemp(prefix="cf-tests-"))
        # PostgreSQL's own account must be able to walk through.
        folder.chmod(0o711)
        (folder / _HOMES).mkdir()
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.guardian", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # A Ctrl-C at the terminal is not meant for it.
            start_new_session=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "operators")])},
        )
        os.environ[MARK] = str(folder)

    def stop(self) -> list[str]:
        """End what is left, and say what it was: nothing, where every fixture cleans up."""
        os.environ.pop(MARK, None)
        said = self._process.communicate(timeout=500)[0].splitlines()
        # Python's own helpers of multiprocessing end when this process does.
        return [line for line in said if "-c from multiprocessing." not in line]


def folder(prefix: str) -> Path:
    """A new folder for a server's files; it goes with the run at the latest."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=os.environ.get(MARK)))


def keep_home(home: Path) -> None:
    """Let an Airflow's home be cleaned up too: its processes carry marks of their own."""
    if run := os.environ.get(MARK):
        with tempfile.NamedTemporaryFile("w", dir=Path(run, _HOMES), delete=False) as file:
            file.write(str(home))


def marked(run: Path) -> set[psutil.Process]:
    """Everything alive that carries the mark of a run, and what descends from it."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == str(run):
                found |= {process, *process.children(recursive=True)}
    return {process for process in found if process.pid != os.getpid() and _alive(process)}


def sweep(run: Path) -> list[str]:
    """Kill what belongs to a run, remove its files, and name what was killed."""
    killed: list[str] = []
    # What was being started while we looked is found by the next round.
    for _ in range(20):
        if not (left := marked(run)):
            break
        for process in left:
            with contextlib.suppress(psutil.Error):
                killed.append(f"{process.pid} {' '.join(process.cmdline())[:200]}")
                process.send_signal(signal.SIGKILL)
        psutil.wait_procs(left, timeout=5)
    for path in (run / _HOMES).iterdir():
        from clipflow_airflow.stack.ending import down
        from clipflow_airflow.stack.home import Home

        if down(Home(Path(path.read_text()))):
            killed.append(f"an Airflow in {path.read_text()}")
    shutil.rmtree(run, ignore_errors=True)
    return killed


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


if __name__ == "__main__":
    sys.stdin.read()
    for line in sweep(Path(sys.argv[1])):
        # Nobody may be there to read it.
        with contextlib.suppress(BrokenPipeError):
            print(line, flush=True)
