"""Memory: what a worker holds beside the formula of docs/speed.md, and whether the driver grows with the images.

Peaks are of anonymous pages, sampled while `clipflow run` goes: pages of files and of Ray's object store are shared and
belong to nobody. The stub encoder holds nothing itself.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from PIL import Image
from tabulate import tabulate

from benchmarks.machine import described
from benchmarks.stub import ENCODER, install
from benchmarks.usage import ROOT

_COLUMNS = ("images", "engine", "driver peak MB", "largest worker peak MB", "wall s")
_WIDTH, _HEIGHT = 5472, 3648
_SAMPLE_SECONDS = 0.1


def main() -> None:
    """Parse, draw, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description="Memory of driver and workers.")
    parser.add_argument(
        "--small", type=int, nargs="*", default=[2_000, 20_000], help="tiny images (default 2000 20000)"
    )
    parser.add_argument("--large", type=int, default=24, help="JPEG files of 20 megapixels (default 24)")
    parser.add_argument("--ray", nargs="*", default=["none"], choices=("none", "local"), help="engines (default none)")
    call = parser.parse_args()
    install()
    print(described(), flush=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        home = Path(folder)
        if call.large:
            size = _draw_large(home / "large", call.large)
            print(f"{call.large} files of 20 megapixels, {size / 1e6:.1f} MB each", flush=True)
        drawn = 0
        for count in [*sorted(call.small), -call.large]:
            if count > 0:
                _draw_small(home / "small", drawn, count)
                drawn = count
            for ray in call.ray if count else ():
                rows.append(_run(home, home / ("small" if count > 0 else "large"), ray, abs(count)))
                print(rows[-1], flush=True)
    print(tabulate(rows, headers=_COLUMNS, floatfmt=".0f", tablefmt="github"))


def _draw_small(folder: Path, first: int, end: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(first, end):
        pixels = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:08}.png")


def _draw_large(folder: Path, count: int) -> int:
    """Files of one picture, so that drawing does not take longer than all the rest; each is read and decoded."""
    folder.mkdir()
    width, height = _WIDTH, _HEIGHT
    grain = np.random.default_rng(0).integers(0, 255, (height // 2, width // 2, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(grain).resize((width, height)).save(out, "JPEG", quality=92)
    (folder / "0.jpg").write_bytes(out.getvalue())
    for number in range(1, count):
        (folder / f"{number}.jpg").hardlink_to(folder / "0.jpg")
    return len(out.getvalue())


def _run(home: Path, images: Path, ray: str, count: int) -> tuple[int, str, float, float, float]:
    job = {
        "name": "bench",
        "source": {"uri": f"{images}/"},
        "encoder": ENCODER,
        "table": {"uri": str(home / f"{images.name}-{count}-{ray}.lance")},
    }
    path = home / "job.yaml"
    path.write_text(json.dumps(job))  # JSON is YAML
    began = time.perf_counter()
    command = [sys.executable, "-m", "clipflow", "run", str(path), "--ray", ray, "--json"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    driver = worker = 0
    while process.poll() is None:
        driver = max(driver, _anonymous(process.pid))
        worker = max([worker, *map(_anonymous, _workers(process.pid))])
        time.sleep(_SAMPLE_SECONDS)
    assert process.stdout is not None  # asked for above
    report = json.loads(process.stdout.read().strip().splitlines()[-1])
    if report["embedded"] != count:
        raise RuntimeError(str(report))
    return count, ray, driver / 1e6, worker / 1e6, time.perf_counter() - began


def _workers(pid: int) -> Iterator[int]:
    try:
        for child in psutil.Process(pid).children(recursive=True):
            if child.cmdline() and child.cmdline()[0].startswith("ray::"):
                yield child.pid
    except psutil.Error:
        return


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


if __name__ == "__main__":
    main()
