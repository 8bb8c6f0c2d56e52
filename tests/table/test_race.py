"""Law 2 under fire: many processes commit overlapping rows at once, and every version is replayed."""

import multiprocessing
import random
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.catalogues import assert_unique_ever, rows
from tests.table.staging import BEGAN, assignment, commit, staged

PROCESSES, COMMITS, KEYS_IN_ALL, KEYS_EACH = 6, 20, 40, 12


def plan(number: int) -> list[dict[int, int]]:
    """What one process will commit: the second of each key's source, commit by commit."""
    chance = random.Random(number)
    return [{key: chance.randrange(5) for key in chance.sample(range(KEYS_IN_ALL), KEYS_EACH)} for _ in range(COMMITS)]


def commit_many(folder: Path, number: int, start: Any) -> None:
    start.wait()
    for turn, seconds in enumerate(plan(number)):
        # A run of its own per commit: one run never writes a row twice.
        given = assignment(folder, f"run-{number}-{turn}")
        items = [{"key": key, "second": second, "at": number * 1000 + turn} for key, second in seconds.items()]
        commit(given, staged(given, *items))


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
        for seconds in plan(number):
            for key, second in seconds.items():
                newest[f"{key:032x}"] = max(newest[f"{key:032x}"], second)
    found = rows(tmp_path / "t.lance", ["image_id", "source_modified"])
    assert found.keys() == newest.keys()
    for key, row in found.items():
        assert row["source_modified"] == BEGAN + timedelta(seconds=newest[key]), "the newer source did not stay"
