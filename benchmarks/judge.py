"""Judging again: what another threshold costs over many rows, and what duplicates cost."""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.clustered import fill
from benchmarks.machine import described
from clipflow.rejudge import rejudge
from clipflow.spec import PolicySpec

_COLUMNS = ("what", "rows", "rows that move", "wall s", "CPU s")
_STRICT: list[dict[str, Any]] = [
    {"name": "small", "score": "min_side", "reject_below": 200},
    {"name": "blurry", "score": "blur"},
]
_NEAR: dict[str, Any] = {"name": "twice", "score": "near_duplicate", "reject_above": 0.97}


def main() -> None:
    """Parse, make, judge, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.judge", description="What judging again costs.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows for thresholds (default 1000000)")
    parser.add_argument("--pairs", type=int, default=50_000, help="rows for near duplicates (default 50000)")
    call = parser.parse_args()
    print(described(("pylance", "duckdb", "numpy")), flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        large, small = Path(folder) / "large.lance", Path(folder) / "small.lance"
        fill(str(large), 20, call.rows // 20)
        lines = [
            _line("a first policy", large, call.rows, _STRICT),
            _line("another threshold", large, call.rows, [{**_STRICT[0], "reject_below": 300}, _STRICT[1]]),
            _line("the same again", large, call.rows, [{**_STRICT[0], "reject_below": 300}, _STRICT[1]]),
            _line("a rehearsal", large, call.rows, _STRICT, dry_run=True),
        ]
        fill(str(small), 10, call.pairs // 10)
        lines.append(_line("near duplicates", small, call.pairs, [_NEAR]))
    print(tabulate(lines, headers=_COLUMNS, floatfmt=".1f", tablefmt="github"))


def _line(what: str, table: Path, rows: int, rules: list[dict[str, Any]], dry_run: bool = False) -> tuple[Any, ...]:
    wall, cpu = time.perf_counter(), time.process_time()
    report = rejudge(str(table), PolicySpec.model_validate({"rules": rules}), dry_run=dry_run)
    return what, rows, report.changed, time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
