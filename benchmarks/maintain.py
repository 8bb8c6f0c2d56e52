"""Maintenance: what many small fragments cost, what it costs to join them, and what is left to do afterwards.

The table is made as runs make it: a fragment staged and committed at a time, 512 float16 numbers a row. An optional
second table, large enough for both indexes, says what they cost and what they spare.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import lance
import pyarrow as pa
from tabulate import tabulate

from benchmarks.clustered import fill
from benchmarks.machine import described
from clipflow.table.maintain import maintain

_REPEATS = 15
_COLUMNS = ("ms", "before: wall", "CPU", "after: wall", "CPU")


def main() -> None:
    """Parse, make, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maintain", description="Cost and gain of maintenance.")
    parser.add_argument("--fragments", type=int, default=500, help="commits, each a fragment (default 500)")
    parser.add_argument("--rows", type=int, default=200, help="rows of each (default 200)")
    parser.add_argument("--large", type=int, default=0, help="rows of a table for the indexes, e.g. 300000")
    call = parser.parse_args()
    print(described(), flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        _measure(Path(folder) / "small.lance", call.fragments, call.rows)
        if call.large:
            _measure(Path(folder) / "large.lance", 10, call.large // 10)


def _measure(table: Path, fragments: int, rows: int) -> None:
    began = time.perf_counter()
    address = fill(str(table), fragments, rows)
    print(f"\n{fragments} commits of {rows} rows: {time.perf_counter() - began:.1f} s", flush=True)
    before = _reads(address.images)
    first, second = maintain(address.images), maintain(address.images)
    after = _reads(address.images)
    for name, report in (("first call", first), ("second call", second)):
        print(f"{name}: {report.fragments_before} fragments, now {report.fragments_after}; seconds {report.seconds}")
        for index in report.indexes:
            print(f"  {index.name}: {index.said()}")
    reads = [(name, *before[name], *after[name]) for name in before]
    print(tabulate(reads, headers=_COLUMNS, floatfmt=".1f", tablefmt="github"), flush=True)


def _reads(table: str) -> dict[str, tuple[float, float]]:
    """Milliseconds of what readers do, the shortest by the clock and the median of CPU; each opens the table anew."""
    query = lance.dataset(table).take([0], columns=["vector"]).column("vector")[0].values.to_numpy()
    content = lance.dataset(table).take([7], columns=["content_sha256"]).column(0)[0].as_py()
    nearest = {"column": "vector", "q": query, "k": 10, "metric": "cosine"}
    asked: dict[str, Callable[[], object]] = {
        "open and count": lambda: lance.dataset(table).count_rows(),
        "count accepted": lambda: lance.dataset(table).count_rows("status = 'accepted'"),
        "ten nearest, exact": lambda: _near(table, {**nearest, "use_index": False}),
        "ten nearest, by index if there is one": lambda: _near(table, {**nearest, "nprobes": 20, "refine_factor": 10}),
        "row of known bytes": lambda: lance.dataset(table).to_table(["image_id"], f"content_sha256 = '{content}'"),
    }
    return {name: _cost(ask) for name, ask in asked.items()}


def _near(table: str, nearest: dict[str, object]) -> pa.Table:
    return lance.dataset(table).to_table(
        ["image_id", "_distance"], "status = 'accepted'", nearest=nearest, prefilter=True
    )


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
