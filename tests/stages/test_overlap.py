"""Fetching behind computing: how batches are cut, that the next one is fetched meanwhile, that memory stays bounded."""

import io
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipflow.assignment import Assignment
from clipflow.encoders import describe
from clipflow.source import list_source, listing_schema
from clipflow.stages import Prepare, batches, overlapped
from clipflow.stages.prepare import Fetched
from clipflow.subtract import FETCH, REFRESH, subtract
from clipflow.table.address import TableAddress
from clipflow.table.forgotten import Forgotten
from clipflow.table.images import ensure_images
from tests.catalogues import draw, job

ACTIONS = st.sampled_from([FETCH, REFRESH])
FILES = st.lists(st.tuples(ACTIONS, st.none() | st.integers(0, 40)), max_size=60)


@given(st.lists(FILES, max_size=3), st.integers(1, 7), st.integers(1, 100))
def test_batches_hold_every_row_once_in_order_and_no_more_than_allowed(
    blocks: list[list[tuple[str, int | None]]], rows: int, most: int
) -> None:
    numbers = iter(range(1000))
    work = [
        pa.table(
            {
                "number": pa.array([next(numbers) for _ in block], pa.int64()),
                "action": pa.array([action for action, _ in block], pa.string()),
                "source_size": pa.array([size for _, size in block], pa.int64()),
            }
        )
        for block in blocks
    ]
    cut = [batch.to_pylist() for batch in batches(work, rows, most)]
    assert [row["number"] for batch in cut for row in batch] == list(range(sum(map(len, blocks))))
    for batch in cut:
        sizes = [1_000_000 if row["source_size"] is None else row["source_size"] for row in batch]
        held = sum(size for row, size in zip(batch, sizes, strict=True) if row["action"] == FETCH)
        assert 0 < len(batch) <= rows
        assert held <= most or len(batch) == 1 or sum(row["action"] == FETCH for row in batch) == 1


class Watched(Prepare):
    """The real stage, which tells how many batches it fetched."""

    def __init__(self, assignment: Assignment) -> None:
        super().__init__(assignment)
        self.fetched, self.changed = 0, threading.Condition()

    def fetch(self, work: pa.Table) -> Fetched:
        done = super().fetch(work)
        with self.changed:
            self.fetched += 1
            self.changed.notify_all()
        return done


@pytest.mark.parametrize("lanes", [1, 2])
def test_the_next_batch_is_fetched_while_one_is_embedded_and_few_are_held(tmp_path: Path, lanes: int) -> None:
    draw(tmp_path / "images", range(24))
    spec = job(tmp_path / "images", tmp_path / "t.lance")
    given = Assignment(spec, describe(spec.encoder), "a", None, TableAddress.of(spec.table.uri))
    ensure_images(given.address, given.schema, given.about)
    prepare = Watched(given)
    lock, embedded, held = threading.Lock(), 0, 0

    def embed(rows: pa.Table) -> pa.Table:
        nonlocal embedded, held
        with lock, prepare.changed:
            # Nothing but the next fetch lets this one go on.
            assert prepare.changed.wait_for(lambda: prepare.fetched > embedded + 1 or prepare.fetched == 12, 60)
            held = max(held, prepare.fetched - embedded)
            embedded += 1
        return rows

    with subtract(list_source(spec.source), listing_schema(spec.source), None, Forgotten(), spec) as left:
        done = list(overlapped(batches(left.work(2), 2), prepare, embed, lanes))
        wanted = pa.concat_tables(left.work(24)).column("image_id").to_pylist()
    assert (len(done), embedded) == (12, 12)
    assert pa.concat_tables(done).column("image_id").to_pylist() == wanted
    assert held <= 2 * lanes + 1


FILES_OF_20_MEGAPIXELS, WIDTH, HEIGHT = 14, 5472, 3648
PEAK = """
import os, sys
import clipflow
from clipflow.jobfile import read_text

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
for job in sys.argv[1:]:
    report = clipflow.run(read_text(job, "the test", []), ray="none").document()
    print(report["embedded"], peak())
"""


def test_memory_of_large_pictures_is_bounded_by_bytes_in_flight(tmp_path: Path) -> None:
    """docs/speed.md: of one lane three batches of 32 MB, and 6 bytes for each pixel of one decoded JPEG."""
    draw(tmp_path / "small", range(3))
    large = tmp_path / "large"
    large.mkdir()
    grain = np.random.default_rng(0).integers(0, 255, (HEIGHT // 2, WIDTH // 2, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(grain).resize((WIDTH, HEIGHT)).save(out, "JPEG", quality=98)
    size = len(out.getvalue())
    (large / "0.jpg").write_bytes(out.getvalue())
    for number in range(1, FILES_OF_20_MEGAPIXELS):
        (large / f"{number}.jpg").hardlink_to(large / "0.jpg")
    bound = 3 * 32_000_000 + 6 * WIDTH * HEIGHT
    margin = 100_000_000
    assert FILES_OF_20_MEGAPIXELS * size > bound + margin, "all at once would not show"
    jobs = [job(folder, f"{folder}.lance").model_dump_json() for folder in (tmp_path / "small", large)]
    command = [sys.executable, "-c", PEAK, *jobs]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (small, before), (embedded, after) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert (small, embedded) == (3, FILES_OF_20_MEGAPIXELS)
    assert after - before < bound + margin
