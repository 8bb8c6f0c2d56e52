"""Law 2 under fire: many processes commit overlapping rows at once, and every version is replayed.

Each commit knows of the table what it saw when it was planned, and fragments are joined under them all the while.
"""

import contextlib
import random
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
from lance.commit import CommitConflictError

from tests.catalogues import assert_unique_ever, rows
from tests.drivers import FORKS, PATIENCE
from tests.table.staging import BEGAN, assignment, commit, planned, staged

PROCESSES, COMMITS, KEYS_IN_ALL, KEYS_EACH = 6, 20, 40, 12


def plan(number: int) -> list[dict[int, int]]:
    """What one process will commit: the second of each key's source, commit by commit."""
    chance = random.Random(number)
    return [{key: chance.randrange(5) for key in chance.sample(range(KEYS_IN_ALL), KEYS_EACH)} for _ in range(COMMITS)]


def commit_many(folder: Path, number: int, start: Any) -> None:
    start.wait(PATIENCE)
    for turn, seconds in enumerate(plan(number)):
        # A run of its own per commit: one run never writes a row twice.
        given = assignment(folder, f"run-{number}-{turn}")
        seen, prior = planned(given, seconds)
        # Where the planned row is, without its run: who replaces just what was planned need not be newer.
        items = [
            {"key": key, "second": second, "at": number * 1000 + turn, "prior_row": prior[key].get("prior_row")}
            for key, second in seconds.items()
        ]
        commit(given, staged(given, *items), seen=seen)


def compact_often(folder: Path, start: Any, enough: Any) -> None:
    start.wait(PATIENCE)
    while not enough.wait(0.2):
        with contextlib.suppress(CommitConflictError, OSError):
            lance.dataset(str(folder / "t.lance")).optimize.compact_files()


def test_racing_commits_leave_one_row_per_image_at_every_version(tmp_path: Path) -> None:
    start, enough = FORKS.Barrier(PROCESSES + 1), FORKS.Event()
    joining = FORKS.Process(target=compact_often, args=(tmp_path, start, enough), daemon=True)
    assignment(tmp_path, "first")
    joining.start()
    processes = [
        FORKS.Process(target=commit_many, args=(tmp_path, number, start), daemon=True) for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    enough.set()
    joining.join(PATIENCE)
    assert joining.exitcode == 0
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert_unique_ever(tmp_path / "t.lance")
    newest: Counter[str] = Counter()
    for number in range(PROCESSES):
        for seconds in plan(number):
            for key, second in seconds.items():
                newest[f"{key:032x}"] = max(newest[f"{key:032x}"], second)
    found = rows(tmp_path / "t.lance", ["image_id", "source_modified"])
    assert found.keys() == newest.keys()
    for name, row in found.items():
        assert row["source_modified"] == BEGAN + timedelta(seconds=newest[name]), "the newer source did not stay"
