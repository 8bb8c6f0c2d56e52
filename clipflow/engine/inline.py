"""The stages in this process: the next batch is fetched and decoded while this one is embedded."""

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa

from clipflow.engine import Reached, rows_per_fragment
from clipflow.stages import Embed, Prepare, Stage
from clipflow.assignment import Assignment
from clipflow.subtract import Subtraction
from clipflow.table.stage import Receipt

_BATCH_ROWS = 64


def run_inline(left: Subtraction, assignment: Assignment, reached: Reached) -> Iterator[Receipt]:
    """See `engine.run_stages`."""
    assignment = replace(assignment, threads=len(os.sched_getaffinity(0)))
    prepare, embed, stage = Prepare(assignment), Embed(assignment), Stage(assignment)
    size = rows_per_fragment(assignment)
    judged: list[pa.Table] = []
    done = 0
    for rows in _ahead(left.work(min(_BATCH_ROWS, size)), prepare):
        judged.append(embed(rows))
        done += len(rows)
        reached(done)
        if sum(map(len, judged)) >= size:
            yield from _stage(stage, judged)
            judged = []
    if judged:
        yield from _stage(stage, judged)


def _ahead(work: Iterator[pa.Table], prepare: Prepare) -> Iterator[pa.Table]:
    with ThreadPoolExecutor(1, "prepare") as pool:
        pending: Future[pa.Table] | None = None
        for batch in work:
            following = pool.submit(prepare, batch)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def _stage(stage: Stage, judged: list[pa.Table]) -> Iterator[Receipt]:
    for row in stage(pa.concat_tables(judged)).to_pylist():
        yield Receipt.from_row(row)
