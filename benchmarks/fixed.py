"""What a run costs before its first image: in its own process, on a Ray started for it, and on a Ray that stands.

    python -m benchmarks.fixed     # on an idle machine: all that computes meanwhile is counted

A run over 20 photographs, and the same run again, which finds nothing to do.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from tabulate import tabulate

from benchmarks.checkpoint import build
from benchmarks.machine import described
from benchmarks.photographs import draw
from benchmarks.usage import ROOT

_PHOTOGRAPHS = 20
_SETTLE_SECONDS = 3.0
_STAND = """
import sys
from clipflow.engine.cluster import start_local
start_local(folder=sys.argv[1])
import ray
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
"""


def main() -> None:
    """Draw, run each way in turn, print medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fixed", description="What a run costs before an image.")
    parser.add_argument("--rounds", type=int, default=5, help="(default 5)")
    rounds = parser.parse_args().rounds
    print(described(("torch", "transformers", "ray", "pylance")), "\n", flush=True)
    # Read when Ray is imported, and the same for those who join.
    os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "HF_HUB_OFFLINE": "1"}
    found: dict[str, list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder, _standing(Path(folder, "ray")) as address:
        home = Path(folder)
        build(home / "checkpoint")
        draw(home / "images", _PHOTOGRAPHS, (640, 480))
        for turn in range(rounds + 1):
            for name, engine in (("none", "none"), ("local", "local"), ("a Ray that stands", address)):
                job = _job(home, f"{turn}-{engine.partition(':')[0]}")
                taken = (*_run(job, engine), *_run(job, engine))
                if turn:  # The first warms the files' pages, and the workers that a standing Ray keeps.
                    found.setdefault(name, []).append(taken)
    rows = [(name, *(median(column) for column in zip(*taken, strict=True))) for name, taken in found.items()]
    headers = ("--ray", "wall s", "CPU s", "again, wall s", "again, CPU s")
    print(tabulate(rows, headers=headers, floatfmt=".1f", tablefmt="github"))


@contextmanager
def _standing(folder: Path) -> Iterator[str]:
    """The address of a Ray on loopback."""
    command = [sys.executable, "-c", _STAND, str(folder)]
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=quiet, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        # Leaving closes its standard input, at which it ends.


def _job(home: Path, name: str) -> Path:
    path = home / f"{name}.json"
    encoder = {"model": str(home / "checkpoint")}
    table = {"uri": str(home / f"{name}.lance")}
    path.write_text(json.dumps({"name": "b", "source": {"uri": f"{home}/images/"}, "encoder": encoder, "table": table}))
    return path


def _run(job: Path, engine: str) -> tuple[float, float]:
    """Seconds by the clock until it ends, and CPU-seconds of the whole machine until Ray is quiet again."""
    before, began = _busy(), time.perf_counter()
    command = [sys.executable, "-m", "clipflow", "run", str(job), "--ray", engine]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall = time.perf_counter() - began
    time.sleep(_SETTLE_SECONDS)
    return wall, _busy() - before


def _busy() -> float:
    """CPU-seconds since the machine started, of all processes: user, nice, system, irq and softirq of proc(5)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(ticks[index] for index in (0, 1, 2, 5, 6)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
