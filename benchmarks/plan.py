"""Planning when nothing changed: what a run costs that finds nothing to do.

`clipflow plan` as a user runs it, over real files and over a stored listing, a parquet manifest that carries the state
of every object; the latter again when one row in a hundred changed. Then list and subtract alone, over a listing made
up in memory, because a folder of so many files measures the disk. A store's own listing time comes on top.
"""

import argparse
import hashlib
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from tabulate import tabulate

from benchmarks.apart import apart
from benchmarks.machine import described
from benchmarks.usage import Usage, measured
from clipflow.spec import JobSpec

_COLUMNS = ("", "rows", "wall s", "CPU s", "peak MB")
_SECOND = 1_000_000
_BEGAN = 1_767_225_600 * _SECOND

Cost = tuple[float, float, float]


def main() -> None:
    """Parse, prepare, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plan", description="Cost of a run with nothing to do.")
    parser.add_argument("--rows", type=int, default=200_000, help="images in the made-up listing (default 200000)")
    parser.add_argument("--files", type=int, default=20_000, help="real files (default 20000)")
    call = parser.parse_args()
    print(described(), flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        home = Path(folder)
        rows = [("clipflow plan, no file", 0, *_planned(home / "none", 0))]
        rows.append(("clipflow plan, files", call.files, *_planned(home / "files", call.files)))
        rows += [(name, call.rows, *cost) for name, cost in _stored(home / "stored", call.rows).items()]
        rows += [(name, call.rows, *cost) for name, cost in _alone(home, call.rows).items()]
    print(tabulate(rows, headers=_COLUMNS, floatfmt=("", "", ".2f", ".2f", ".0f"), tablefmt="github"))


def _planned(home: Path, files: int) -> Cost:
    """The verb, from the start of Python to its end, over `files` files that the table holds."""
    (home / "images").mkdir(parents=True)
    for number in range(files):
        (home / "images" / f"{number:08}.jpg").write_bytes(b"x")
    spec = _job(f"{home}/images/", home / "t.lance")
    apart(_fill_from_source, spec)
    path = home / "job.yaml"
    path.write_text(spec.model_dump_json())
    return _told(measured("clipflow", "plan", str(path), "--json"), 0, files)


def _stored(home: Path, rows: int) -> dict[str, Cost]:
    home.mkdir()
    spec = _job(
        "s3://made-up/uploads/",
        home / "t.lance",
        kind="manifest",
        uri=f"{home}/listing.parquet",
        etag="tag",
        size="bytes",
    )
    changed = rows // 100
    apart(_write_listing, spec, rows, 0)
    apart(_fill_from_source, spec)
    path = home / "job.yaml"
    path.write_text(spec.model_dump_json(exclude_none=True))
    costs = {"clipflow plan, stored listing": _told(measured("clipflow", "plan", str(path), "--json"), 0, rows)}
    apart(_write_listing, spec, rows, changed)
    costs["the same, 1 % changed"] = _told(measured("clipflow", "plan", str(path), "--json"), changed, rows - changed)
    return costs


def _told(usage: Usage, to_fetch: int, unchanged: int) -> Cost:
    if f'"to_fetch": {to_fetch},' not in usage.output or f'"unchanged": {unchanged},' not in usage.output:
        raise RuntimeError(f"the plan is another: {usage.output}")
    return usage.wall, usage.cpu, usage.peak_mb


def _write_listing(spec: JobSpec, rows: int, changed: int) -> None:
    """What a store would list, as a file; the first rows with another entity tag and size."""
    from pyarrow import parquet

    schema = pa.schema([("uri", pa.string()), ("tag", pa.string()), ("bytes", pa.int64())])
    with parquet.ParquetWriter(spec.source.uri, schema) as writer:
        for batch in _listing(_job("s3://made-up/uploads/", Path(spec.table.uri)), rows):
            uris, tags, sizes = (batch.column(name) for name in ("source_uri", "source_etag", "source_size"))
            new = min(changed, len(batch))
            changed -= new
            tags = pa.array([f"new {tag}" for tag in tags[:new].to_pylist()] + tags[new:].to_pylist(), pa.string())
            writer.write_batch(pa.RecordBatch.from_arrays([uris, tags, sizes], schema=schema))


def _alone(home: Path, rows: int) -> dict[str, Cost]:
    spec = _job("s3://made-up/uploads/", home / "s.lance")
    apart(_fill_made_up, spec, rows)
    return {
        "ids and batches of a listing": apart(_measure_listing, spec, rows),
        "the same, and subtract": apart(_measure_subtract, spec, rows),
    }


def _job(source: str, table: Path, **more: str) -> JobSpec:
    body = {
        "name": "bench",
        "source": {"uri": source, **more},
        "encoder": {"model": "demo"},
        "table": {"uri": str(table)},
    }
    return JobSpec.model_validate(body)


def _listing(spec: JobSpec, rows: int) -> Iterator[pa.RecordBatch]:
    """What a store would list: addresses, entity tags, sizes and times."""
    from clipflow.source.listing import Listed, batches, listing_schema

    listed = (
        Listed(
            f"{spec.source.uri}{number % 97:02}/{number:09}.jpg",
            hashlib.md5(b"%d" % number, usedforsecurity=False).hexdigest(),
            None,
            50_000 + number % 50_000,
            _BEGAN + number * _SECOND,
        )
        for number in range(rows)
    )
    return batches(listed, listing_schema(spec.source))


def _fill_from_source(spec: JobSpec) -> None:
    from benchmarks.synthetic import fill
    from clipflow.source import list_source

    fill(spec, list_source(spec.source, None))


def _fill_made_up(spec: JobSpec, rows: int) -> None:
    from benchmarks.synthetic import fill

    fill(spec, _listing(spec, rows))


def _measure_listing(spec: JobSpec, rows: int) -> Cost:
    next(_listing(spec, 1))  # imports and first calls are not what is measured
    began = _now()
    for _ in _listing(spec, rows):
        pass
    return _since(began)


def _measure_subtract(spec: JobSpec, rows: int) -> Cost:
    from clipflow.source.listing import listing_schema
    from clipflow.subtract import subtract
    from clipflow.table.address import TableAddress
    from clipflow.table.forgotten import Forgotten
    from clipflow.table.images import open_images

    dataset = open_images(TableAddress.of(spec.table.uri))
    next(_listing(spec, 1))
    began = _now()
    with subtract(_listing(spec, rows), listing_schema(spec.source), dataset, Forgotten(), spec) as left:
        cost = _since(began)
        if left.unchanged != rows:
            raise RuntimeError(f"{left.unchanged} of {rows} rows are unchanged")
    return cost


def _now() -> tuple[float, float]:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return time.perf_counter(), spent.ru_utime + spent.ru_stime


def _since(began: tuple[float, float]) -> Cost:
    wall, cpu = _now()
    return wall - began[0], cpu - began[1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
