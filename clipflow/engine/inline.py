"""The stages in this process: one lane a core, each decoding and embedding batches of its own.

A lane computes on one thread. Many lanes of one thread beat one lane of many: the threads of a single
computation wait for each other, and worse so when decoding takes their cores.
"""

from collections.abc import Iterator
from time import monotonic

import pyarrow as pa

from clipflow.assignment import Assignment
from clipflow.engine import Reached, rows_per_fragment, usable_cpus
from clipflow.stages import BATCH_BYTES, BATCH_ROWS, Embed, Prepare, Stage, batches, overlapped
from clipflow.subtract import Subtraction
from clipflow.table.stage import Receipt

# Slow images are staged in smaller fragments, so that a kill costs minutes and not hours.
_STAGE_SECONDS = 300.0


def run_inline(left: Subtraction, assignment: Assignment, reached: Reached) -> Iterator[Receipt]:
    """See `engine.run_stages`."""
    stage = Stage(assignment)
    size = rows_per_fragment(assignment)
    judged: list[pa.Table] = []
    done, began = 0, monotonic()
    for rows in _embedded(left, assignment, min(BATCH_ROWS, size)):
        judged.append(rows)
        done += len(rows)
        reached(done)
        if sum(map(len, judged)) >= size or monotonic() - began > _STAGE_SECONDS:
            yield from _stage(stage, judged)
            judged, began = [], monotonic()
    if judged:
        yield from _stage(stage, judged)


def _embedded(left: Subtraction, assignment: Assignment, batch_rows: int) -> Iterator[pa.Table]:
    """Judged batches, in the order of the work."""
    worth = max(-(-left.to_fetch // batch_rows), left.bytes // BATCH_BYTES)
    lanes = max(1, min(usable_cpus(), worth))
    prepare, embed = Prepare(assignment), Embed(assignment, lanes=lanes)
    return overlapped(batches(left.work(batch_rows), batch_rows), prepare, embed, lanes)


def _stage(stage: Stage, judged: list[pa.Table]) -> Iterator[Receipt]:
    for row in stage(pa.concat_tables(judged)).to_pylist():
        yield Receipt.from_row(row)
