"""Writing: what staging and committing rows cost, beside what embedding them costs.

Rows as `Embed` hands them over, 512 float16 numbers each, are staged in fragments and committed as a run does it, in a
process that does nothing else. Then photographs are embedded by CLIP ViT-B/32 with random weights, for the share.
"""

import argparse
import json
import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import lance
import numpy as np
from tabulate import tabulate

from benchmarks.machine import described
from benchmarks.stub import ENCODER, install
from benchmarks.synthetic import rows_of
from benchmarks.usage import measured
from clipflow.spec import JobSpec

_COLUMNS = ("rows", "fragments", "rows each", "bytes/row", "stage CPU us/row", "commit CPU us/row", "wall us/row")


def main() -> None:
    """Parse, write, embed, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.writes", description="The share of writing.")
    parser.add_argument("--rows", type=int, default=100_000, help="rows to write (default 100000)")
    parser.add_argument("--images", type=int, default=512, help="photographs of 640 x 480 (default 512, 0 for none)")
    call = parser.parse_args()
    install()
    print(described(), flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        home = Path(folder)
        costs = [_write(home / f"{rows}.lance", rows) for rows in (call.images, 10_000, call.rows) if rows]
        print(tabulate(costs, headers=_COLUMNS, floatfmt=".0f", tablefmt="github"), flush=True)
        if call.images:
            whole = _embed(home, call.images) - _embed(home, call.images // 4)
            each = 1e6 * whole / (call.images - call.images // 4)
            print(f"\none more image of ViT-B/32: {each / 1000:.1f} CPU ms, of which writing is")
            for cost in costs:
                print(f"  {100 * (cost[4] + cost[5]) / each:.2f} % in a run of {cost[0]} images")


def _write(table: Path, rows: int) -> tuple[float, ...]:
    from clipflow.assignment import Assignment
    from clipflow.encoders import describe
    from clipflow.report import RunReport
    from clipflow.source.listing import BATCH_ROWS, Listed, batches, listing_schema
    from clipflow.stages import Stage
    from clipflow.table.address import TableAddress
    from clipflow.table.commit import Committer
    from clipflow.table.existing import Planned
    from clipflow.table.images import ensure_images, open_images
    from clipflow.table.runs import Operation
    from clipflow.table.stage import Receipt

    body = {"name": "bench", "source": {"uri": "s3://none/"}, "encoder": ENCODER, "table": {"uri": str(table)}}
    spec = JobSpec.model_validate(body)
    given = Assignment(spec, describe(spec.encoder), "0" * 32, None, TableAddress.of(spec.table.uri))
    ensure_images(given.address, given.schema, given.about)
    changed = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    listed = (Listed(f"s3://none/{number:09}.jpg", f"{number:x}", None, number, changed) for number in range(rows))
    stage, receipts = Stage(given), []
    rng, done = np.random.default_rng(0), 0
    staged = committed = wall = 0.0
    with Operation(given.address, given.record, RunReport(given.run_id)) as operation:
        operation.open()
        committer = Committer(given, operation, Planned.of(open_images(given.address)))
        for batch in batches(listed, listing_schema(spec.source)):
            vectors = rng.standard_normal((batch.num_rows, given.info.dim), np.float32).astype(np.float16)
            block = rows_of(given, batch, done, vectors, rng)
            done += batch.num_rows
            began, cpu = time.perf_counter(), time.process_time()
            receipts += [Receipt.from_row(row) for row in stage(block).to_pylist()]
            staged += time.process_time() - cpu
            wall += time.perf_counter() - began
            if len(receipts) * BATCH_ROWS >= min(rows, spec.table.commit_rows):
                began, cpu = time.perf_counter(), time.process_time()
                committer.commit(receipts)
                committed += time.process_time() - cpu
                wall += time.perf_counter() - began
                receipts = []
    dataset = lance.dataset(given.address.images)
    size = sum(path.stat().st_size for path in (table / "data").iterdir())
    fragments = len(dataset.get_fragments())
    each = [1e6 * seconds / rows for seconds in (staged, committed, wall)]
    return rows, fragments, rows / fragments, size / rows, *each


def _embed(home: Path, images: int) -> float:
    """CPU-seconds of a whole run."""
    if not (home / "checkpoint").exists():
        measured("benchmarks.checkpoint", str(home / "checkpoint"))
        measured("benchmarks.photographs", str(home / "all"), str(images), "640x480")
    chosen = home / f"images-{images}"
    chosen.mkdir()
    for path in sorted((home / "all").iterdir())[:images]:
        os.link(path, chosen / path.name)
    job = {
        "name": "bench",
        "source": {"uri": f"{chosen}/"},
        "encoder": {"model": str(home / "checkpoint")},
        "table": {"uri": str(home / f"embedded-{images}.lance")},
    }
    path = home / "job.yaml"
    path.write_text(json.dumps(job))  # JSON is YAML
    return measured("clipflow", "run", str(path), "--ray", "none", "--json").cpu


if __name__ == "__main__":
    main()
