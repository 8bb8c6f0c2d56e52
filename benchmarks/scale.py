"""The driver at scale: how many rows a second it can commit, and what a commit costs as the table grows.

Fetching, decoding and embedding are left out: processes stage fragments of made-up rows, 512 float16 numbers each, as
workers would, and a driver commits their receipts by the code of a run into a real table on the local disk. Three
figures come of it: the cost of a commit at some sizes of the table, the memory of the driver, and how far it lags
behind receipts that come at a given rate. What Ray adds on the way of a receipt is not in them.
"""

import argparse
import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from tabulate import tabulate

from benchmarks.apart import apart
from benchmarks.machine import described
from benchmarks.synthetic import rows_of
from clipflow.assignment import Assignment
from clipflow.encoders import describe
from clipflow.pipeline import land
from clipflow.report import RunReport
from clipflow.spec import JobSpec
from clipflow.table.address import TableAddress
from clipflow.table.commit import Committer
from clipflow.table.existing import Planned
from clipflow.table.images import ensure_images, open_images
from clipflow.table.runs import Operation
from clipflow.table.stage import Receipt, stage_rows
from clipflow.uri import image_id

_FRAGMENT, _DIM, _WINDOW = 10_000, 512, 5
_SIZES = (10_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000, 5_000_000)
_COLUMNS = ("commits", "rows each", "rows in the table", "wall ms", "fastest", "CPU ms", "rows per CPU-s", "driver MB")

Line = tuple[str, int, int, float, float, float, float, float]


def main() -> None:
    """Parse, stage, commit, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="Rows a second of the driver.")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table in the end (default 1000000)")
    parser.add_argument("--rate", type=int, default=100_000, help="rows a second that come (default 100000)")
    parser.add_argument("--stagers", type=int, default=2, help="processes that stage (default 2)")
    call = parser.parse_args()
    print(described(("pylance", "pyarrow")), flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        home = Path(folder)
        _stage_all(home, "growing", 0, call.rows, call.stagers)
        lines = apart(_grow, home, call.rows)
        # Every hundredth image has new bytes.
        changed = call.rows // 100
        _stage_all(home, "changing", 0, changed, 1, planned=True)
        lines += apart(_change, home, changed)
        print(tabulate(lines, headers=_COLUMNS, floatfmt=".0f", tablefmt="github"), flush=True)
        _stage_all(home, "paced", call.rows, call.rows, call.stagers)
        print(apart(_paced, home, call.rows, call.rate), flush=True)


def _grow(home: Path, rows: int) -> list[Line]:
    """Commits of one fragment each into a table that grows from nothing."""
    lines = []
    for size, costs, memory in _committed(home, "growing", range(0, rows, _FRAGMENT)):
        if size in _SIZES or size == rows:
            lines.append(_line("new rows", _FRAGMENT, size, costs[-_WINDOW:], memory))
    return lines


def _change(home: Path, rows: int) -> list[Line]:
    """A commit that replaces rows all over the table."""
    ((_, costs, memory),) = _committed(home, "changing", range(0, rows, rows))
    held = open_images(_assignment(home, "changing").address).count_rows()
    return [_line("replaced rows", rows, held, costs, memory)]


def _paced(home: Path, rows: int, rate: int) -> str:
    """The main flow's own loop over receipts that come at a rate."""
    given = _assignment(home, "paced")
    report = RunReport(given.run_id)
    held = open_images(given.address).count_rows()
    lags: list[float] = []
    with Operation(given.address, given.record, report) as operation:
        operation.open()
        committer = Committer(given, operation, Planned.of(open_images(given.address)))
        spent, began = time.process_time(), time.perf_counter()
        due = _at_rate(_receipts(home, "paced", range(rows, 2 * rows, _FRAGMENT)), rate, lags)
        land(committer, due, given.spec.table.commit_rows, report)
        wall, cpu = time.perf_counter() - began, time.process_time() - spent
    if (now := open_images(given.address).count_rows()) != held + rows:
        raise RuntimeError(f"{now} rows are there, not {held + rows}")
    return (
        f"{rows} more rows at {rate} a second into a table of {held}: {wall:.1f} s, {cpu:.1f} CPU s of the driver, "
        f"commits {report.seconds['commit']:.1f} s; the driver was at most {max(lags):.2f} s late, {lags[-1]:.2f} s at "
        f"the end; {_memory():.0f} MB"
    )


def _at_rate(receipts: Iterable[Receipt], rate: int, lags: list[float]) -> Iterator[Receipt]:
    """Receipts no sooner than they are due; how late each was taken is added to `lags`."""
    began = time.perf_counter()
    for number, receipt in enumerate(receipts, 1):
        late = time.perf_counter() - began - number * _FRAGMENT / rate
        if late < 0:
            time.sleep(-late)
        lags.append(max(0.0, late))
        yield receipt


def _committed(home: Path, name: str, firsts: range) -> Iterator[tuple[int, list[tuple[float, float]], float]]:
    """After each commit of one receipt: rows so far, what the commits cost, memory of the process."""
    given = _assignment(home, name)
    costs: list[tuple[float, float]] = []
    report = RunReport(given.run_id)
    with Operation(given.address, given.record, report) as operation:
        operation.open()
        committer = Committer(given, operation, Planned.of(open_images(given.address)))
        for receipt in _receipts(home, name, firsts):
            wall, cpu = time.perf_counter(), time.process_time()
            report.land(committer.commit([receipt]), [receipt])
            costs.append((time.perf_counter() - wall, time.process_time() - cpu))
            yield report.counts["embedded"], costs, _memory()


def _line(what: str, rows: int, size: int, costs: list[tuple[float, float]], memory: float) -> Line:
    walls, cpus = zip(*costs, strict=True)
    return what, rows, size, 1000 * median(walls), 1000 * min(walls), 1000 * median(cpus), rows / median(cpus), memory


def _stage_all(home: Path, name: str, first: int, rows: int, processes: int, planned: bool = False) -> None:
    _assignment(home, name)
    size = rows if planned else _FRAGMENT
    parts = [(home, name, at, size, planned) for at in range(first, first + rows, size)]
    began = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.starmap(_stage, parts, chunksize=1)
    seconds = time.perf_counter() - began
    print(f"{rows} rows staged by {processes} processes in {seconds:.1f} s, {rows / seconds:.0f} a second", flush=True)


def _stage(home: Path, name: str, first: int, rows: int, planned: bool) -> None:

    given = _assignment(home, name)
    dataset = open_images(given.address)
    rng = np.random.default_rng(first)
    numbers = range(first, first + rows)
    uris = [f"s3://made-up/{number * (100 if planned else 1):012}.jpg" for number in numbers]
    listed = {"image_id": [image_id(uri) for uri in uris], "source_uri": uris}
    if planned:
        held = dataset.to_table(columns=["image_id", "run_id"], with_row_id=True).to_pylist()
        seen = {row["image_id"]: row for row in held}
        listed["prior_run_id"] = [seen[key]["run_id"] for key in listed["image_id"]]
        listed["prior_row_id"] = pa.array([seen[key]["_rowid"] for key in listed["image_id"]], pa.uint64())
    vectors = rng.standard_normal((rows, _DIM), np.float32).astype(np.float16)
    made = rows_of(given, pa.RecordBatch.from_pydict(listed), first, vectors, rng)
    receipt = stage_rows(made, {}, given.address, dataset)
    (home / f"{name}-{first}.receipt").write_bytes(pickle.dumps(receipt.to_row()))


def _receipts(home: Path, name: str, firsts: range) -> Iterator[Receipt]:
    """In the form in which they cross the object store."""
    for first in firsts:
        yield Receipt.from_row(pickle.loads((home / f"{name}-{first}.receipt").read_bytes()))


def _assignment(home: Path, name: str) -> Assignment:

    table = f"{home}/t.lance"
    body = {"name": "bench", "source": {"uri": "s3://made-up/"}, "encoder": {"model": "demo"}, "table": {"uri": table}}
    spec = JobSpec.model_validate(body)
    info = replace(describe(spec.encoder), dim=_DIM)
    given = Assignment(spec, info, name, None, TableAddress.of(table))
    ensure_images(given.address, given.schema, given.about)
    return given


def _memory() -> float:
    """Resident megabytes of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
