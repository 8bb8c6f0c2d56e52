"""Maintenance beside living runs, and killed in the middle: nothing is lost, nothing stands twice."""

import random
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance

import clipflow
from clipflow.spec import JobSpec
from clipflow.table.indexes import Wanted
from clipflow.table.maintain import maintain
from tests.catalogues import assert_unique_ever, draw, job, rows
from tests.drivers import FORKS, PATIENCE, Driver, versions
from tests.examples import chances, turns
from tests.table.staging import BEGAN, assignment, commit, staged

WRITERS, COMMITS, KEYS_IN_ALL, KEYS_EACH = 3, 15, 40, 12
INDEX = Wanted("content_sha256", "BTREE", 1)
FRAGMENTS = 40


def plan(number: int) -> list[dict[int, int]]:
    """What one writer will commit: the second of each key's source, commit by commit."""
    chance = random.Random(100 + number)
    return [{key: chance.randrange(9) for key in chance.sample(range(KEYS_IN_ALL), KEYS_EACH)} for _ in range(COMMITS)]


def write(folder: Path, number: int, start: Any) -> None:
    start.wait(PATIENCE)
    for turn, seconds in enumerate(plan(number)):
        given = assignment(folder, f"run-{number}-{turn}")
        items = [{"key": key, "second": second, "at": number * 1000 + turn} for key, second in seconds.items()]
        commit(given, staged(given, *items))


def keep_maintaining(folder: Path, start: Any, over: Any) -> None:
    table = str(folder / "t.lance")
    start.wait(PATIENCE)
    while not over.is_set():
        maintain(table, keep_days=0, indexes=[INDEX])


def calls(folder: Path) -> int:
    """Calls of maintain that are over."""
    return int(lance.dataset(str(folder / "t_runs.lance")).count_rows("verb = 'maintain' AND state = 'done'"))


def test_maintaining_beside_writers_loses_and_doubles_nothing(tmp_path: Path) -> None:
    assignment(tmp_path, "the table")
    start, over = FORKS.Barrier(WRITERS + 2), FORKS.Event()
    writers = [FORKS.Process(target=write, args=(tmp_path, number, start), daemon=True) for number in range(WRITERS)]
    keepers = [FORKS.Process(target=keep_maintaining, args=(tmp_path, start, over), daemon=True) for _ in range(2)]
    for process in writers + keepers:
        process.start()
    for process in writers:
        process.join(PATIENCE)
    # Perhaps they had less of the cores than the writers.
    deadline = time.monotonic() + PATIENCE
    while calls(tmp_path) < 5:
        assert time.monotonic() < deadline, "maintaining stands still"
        time.sleep(0.02)
    over.set()
    for process in keepers:
        process.join(PATIENCE)
    assert [process.exitcode for process in writers + keepers] == [0] * (WRITERS + 2)

    table = tmp_path / "t.lance"
    newest: Counter[str] = Counter()
    for number in range(WRITERS):
        for seconds in plan(number):
            for key, second in seconds.items():
                newest[f"{key:032x}"] = max(newest[f"{key:032x}"], second)
    found = rows(table, ["image_id", "source_modified"])
    assert found.keys() == newest.keys()
    for name, row in found.items():
        assert row["source_modified"] == BEGAN + timedelta(seconds=newest[name]), "the newer source did not stay"
    assert assert_unique_ever(table) > WRITERS * COMMITS

    report = maintain(str(table), indexes=[INDEX])
    assert report.fragments_after == 1
    assert maintain(str(table), indexes=[INDEX]).version == report.version
    runs = clipflow.open(table).sql("select state, count(*) as n from runs where verb = 'maintain' group by all")
    assert [run["state"] for run in runs] == ["done"]


def test_a_job_goes_on_while_its_table_is_maintained(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(150))
    (tmp_path / "gate").touch()
    table = tmp_path / "t.lance"

    def spec(model: str) -> JobSpec:
        return job(tmp_path / "images", table, encoder={"model": model, "loader": "stub"}, table={"commit_rows": 5})

    (tmp_path / "job.json").write_text(spec("stub:dim=16,ms=2,gate=40").model_dump_json())
    driver = Driver("run", tmp_path / "job.json", "--ray", "none", gate=tmp_path / "gate", one_cpu=True)
    compacted = seen = 0
    # After each commit of the job, not without end: else a busy machine would leave the job no turn.
    while driver.poll() is None:
        if versions(table) and lance.dataset(str(table)).latest_version != seen:
            report = maintain(str(table), keep_days=0, indexes=[INDEX])
            compacted += report.version > report.from_version
            seen = report.version
        # The gate comes after eight commits: it opens when the table was maintained in the job's midst.
        if compacted:
            (tmp_path / "gate").unlink(missing_ok=True)
        time.sleep(0.01)
    assert driver.wait() == 0, driver.log
    assert compacted
    print(f"maintained {compacted} times beside it")
    assert_unique_ever(table)
    again = clipflow.run(spec("stub:dim=16"), ray="none").document()
    assert (again["listed"], again["unchanged"]) == (150, 150)
    assert len(rows(table)) == 150


def scatter(folder: Path, turn: int) -> None:
    """Many fragments in one commit; a few of their rows replace older ones."""
    given = assignment(folder, f"run-{turn}")
    first = turn * FRAGMENTS
    news = [{"key": key, "second": 1} for key in range(first, first + FRAGMENTS)]
    olds = [{"key": key, "second": 2 + turn, "prior": f"run-{turn - 1}"} for key in range(first - 4, first) if turn]
    commit(given, *(staged(given, item) for item in news + olds))


def under_way(folder: Path) -> int:
    """Calls whose row says `running`: at work, or killed at it."""
    return int(lance.dataset(str(folder / "t_runs.lance")).count_rows("verb = 'maintain' AND state = 'running'"))


def test_a_call_killed_at_its_work_leaves_a_whole_table_and_the_next_one_finishes(tmp_path: Path) -> None:
    chance = chances("a call of maintain killed")
    table, turn = str(tmp_path / "t.lance"), 0
    # A killed call leaves its row `running`, until the next one closes it.
    while (killed := under_way(tmp_path) if turn else 0) < turns(3):
        assert turn < 20 * turns(3), "too seldom at work when it was killed"
        scatter(tmp_path, turn)
        before = rows(table)
        driver = Driver("maintain", table)
        driver.until(lambda killed=killed: under_way(tmp_path) > killed, "it began")  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.06))
        driver.kill()
        assert rows(table) == before
        turn += 1
    report = maintain(table)
    assert report.fragments_after == 1
    assert rows(table) == before
    assert len(before) == turn * FRAGMENTS
    assert_unique_ever(table)
    assert maintain(table).version == report.version
