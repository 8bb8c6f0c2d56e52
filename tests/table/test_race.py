"""Law 2 under fire: many processes commit overlapping rows at once, and every version is replayed."""

import multiprocessing
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from clipflow.assignment import Assignment
from clipflow.encoders import describe
from clipflow.report import RunReport
from clipflow.table.address import TableAddress
from clipflow.table.commit import commit_receipts
from clipflow.table.images import ensure_images, open_images
from clipflow.table.runs import Operation
from clipflow.table.stage import Receipt, stage_rows
from tests.catalogues import assert_unique_ever, job, rows

PROCESSES, COMMITS, KEYS_IN_ALL, KEYS_EACH = 6, 20, 40, 12
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def assignment(folder: Path, run_id: str) -> Assignment:
    spec = job(folder, folder / "t.lance")
    return Assignment(spec, describe(spec.encoder), run_id, None, TableAddress.of(spec.table.uri))


def receipt(given: Assignment, items: dict[str, int], embedded: int, status: str = "accepted") -> Receipt:
    """Rows staged as a worker would: image_id and the second of its source's change, embedded at a moment."""
    data = [
        {
            "image_id": key,
            "source_uri": f"file:///{key}",
            "source_modified": BEGAN + timedelta(seconds=second),
            "content_sha256": f"{second:064x}",
            "status": status,
            "reasons": [] if status != "failed" else ["corrupt"],
            "run_id": given.run_id,
            "embedded_at": BEGAN + timedelta(days=1, microseconds=embedded),
            "outcome": "failed" if status == "failed" else "embedded",
        }
        for key, second in items.items()
    ]
    table = pa.Table.from_pylist(data, given.flight)
    return stage_rows(table, table, {}, given.address, open_images(given.address))


def operate(given: Assignment) -> Operation:
    operation = Operation(given.address, given.record, RunReport(given.run_id))
    operation.open()
    return operation


def commit_many(folder: Path, number: int, start: "multiprocessing.synchronize.Barrier") -> None:
    chance = random.Random(number)
    given = assignment(folder, f"run-{number}")
    ensure_images(given.address, given.schema, given.about)
    start.wait()
    for turn in range(COMMITS):
        # A run of its own per commit: one run never writes a row twice.
        given = assignment(folder, f"run-{number}-{turn}")
        keys = chance.sample(range(KEYS_IN_ALL), KEYS_EACH)
        items = {f"{key:032x}": chance.randrange(5) for key in keys}
        staged = receipt(given, items, embedded=number * 1000 + turn)
        operation = operate(given)
        with operation:
            commit_receipts(given.address, [staged], operation, given.spec.policy.policy_id)


def test_racing_commits_leave_one_row_per_image_at_every_version(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("spawn")
    start = fork.Barrier(PROCESSES)
    processes = [fork.Process(target=commit_many, args=(tmp_path, number, start)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(200)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert_unique_ever(tmp_path / "t.lance")
    newest: Counter[str] = Counter()
    for number in range(PROCESSES):
        chance = random.Random(number)
        for _ in range(COMMITS):
            for key in chance.sample(range(KEYS_IN_ALL), KEYS_EACH):
                name = f"{key:032x}"
                newest[name] = max(newest[name], chance.randrange(5))
    found = rows(tmp_path / "t.lance", ["image_id", "source_modified"])
    assert found.keys() == newest.keys()
    for key, row in found.items():
        assert row["source_modified"] == BEGAN + timedelta(seconds=newest[key]), "the newer source did not stay"
