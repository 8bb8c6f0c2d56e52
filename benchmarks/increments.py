"""Many small runs into one table: what a run costs as runs go by, and what readers pay before and after maintenance.

Every day a folder of a few pictures comes and a run embeds that day's interval, with the stub encoder: what is left are
the costs of clipflow itself. At the end the table is read as the runs left it, after `maintain`, and beside a copy
written in one go, which is what a freshly compacted table can be at best.
"""

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import lance
import numpy as np
from PIL import Image
from tabulate import tabulate

from benchmarks.machine import described
from benchmarks.stub import ENCODER, install
from clipflow.interval import Interval
from clipflow.spec import JobSpec
from clipflow.table.maintain import maintain

_FIRST = datetime(2025, 1, 1, tzinfo=UTC)
_REPEATS = 15
_WINDOW = 10


def main() -> None:
    """Parse, run, maintain, read, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.increments", description="Many small runs.")
    parser.add_argument("--days", type=int, default=500, help="runs (default 500)")
    parser.add_argument("--images", type=int, default=200, help="new images of each (default 200)")
    parser.add_argument("--maintain-every", type=int, default=0, help="days between two calls of maintain, e.g. 7")
    call = parser.parse_args()
    install()
    print(described(("pylance", "duckdb", "pyarrow")), flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        home = Path(folder)
        table = home / "t.lance"
        costs = _days(home / "images", table, call.days, call.images, call.maintain_every)
        print(tabulate(_growth(costs), headers="keys", floatfmt=".0f", tablefmt="github"), flush=True)
        once = home / "once.lance"
        lance.write_dataset(lance.dataset(str(table)).to_table(), str(once), enable_stable_row_ids=True)
        before = _reads(table)
        report = maintain(str(table))
        print(
            f"\nmaintain: {report.fragments_before} fragments, now {report.fragments_after}; seconds {report.seconds}"
        )
        after, best = _reads(table), _reads(once)
        rows = [(name, *before[name], *after[name], *best[name], after[name][0] / best[name][0]) for name in before]
        heads = ("ms", "as run: wall", "CPU", "maintained: wall", "CPU", "in one go: wall", "CPU", "wall ratio")
        print(tabulate(rows, headers=heads, floatfmt=".1f", tablefmt="github"), flush=True)


def _days(images: Path, table: Path, days: int, each: int, every: int) -> list[dict[str, float]]:
    import clipflow

    spec = JobSpec.model_validate(
        {
            "name": "bench",
            "source": {"uri": f"{images}/dt=%Y-%m-%d/", "window": "path"},
            "encoder": ENCODER,
            "table": {"uri": str(table)},
        }
    )
    costs = []
    for day in range(days):
        start = _FIRST + timedelta(days=day)
        folder = images / f"dt={start:%Y-%m-%d}"
        _draw(folder, each, day)
        wall, cpu = time.perf_counter(), time.process_time()
        report = clipflow.run(spec, interval=Interval(start, start + timedelta(days=1)), ray="none", progress=False)
        cost = {"wall": time.perf_counter() - wall, "CPU": time.process_time() - cpu}
        if report.counts["embedded"] != each:
            raise RuntimeError(f"day {day}: {report.counts}")
        costs.append({name: 1000 * seconds for name, seconds in (cost | report.seconds).items()})
        # What the next runs list is their own folder.
        shutil.rmtree(folder)
        if every and day % every == every - 1:
            maintain(str(table))
    return costs


def _draw(folder: Path, count: int, day: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(day)
    for number in range(count):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(out, "PNG")
        (folder / f"{number:06}.png").write_bytes(out.getvalue())


def _growth(costs: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Medians over ten runs at some places, milliseconds."""
    names = ("wall", "CPU", "list", "fetch", "decode", "embed", "score", "stage", "commit")
    ends = [end for end in (_WINDOW, 50, 100, 200, 300, 400, 500, 1000) if end < len(costs)]
    lines = []
    for end in [*ends, len(costs)]:
        part = costs[max(0, end - _WINDOW) : end]
        lines.append({"run": end, **{name: median(cost[name] for cost in part) for name in names}})
    return lines


def _reads(table: Path) -> dict[str, tuple[float, float]]:
    """Milliseconds of what readers do, the shortest by the clock and the median of CPU; each opens the table anew."""
    uri = str(table)
    content = lance.dataset(uri).take([7], columns=["content_sha256"]).column(0)[0].as_py()
    columns = ["image_id", "source_uri", "blur"]
    asked: dict[str, Callable[[], object]] = {
        "open and count": lambda: lance.dataset(uri).count_rows(),
        "count accepted": lambda: lance.dataset(uri).count_rows("status = 'accepted'"),
        "rows of a low entropy": lambda: lance.dataset(uri).to_table(columns, "entropy < 7.4"),
        "row of known bytes": lambda: lance.dataset(uri).to_table(["image_id"], f"content_sha256 = '{content}'"),
        "all vectors": lambda: lance.dataset(uri).to_table(["vector"]),
    }
    return {name: _cost(ask) for name, ask in asked.items()}


def _cost(ask: Callable[[], object]) -> tuple[float, float]:
    walls, cpus = [], []
    for _ in range(_REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        ask()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return 1000 * min(walls), 1000 * median(cpus)


if __name__ == "__main__":
    main()
