"""Maintenance beside living runs, and killed in the middle: nothing is lost, nothing stands twice."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
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
from tests.table.staging import BEGAN, assignment, commit, staged

WRITERS, COMMITS, KEYS_IN_ALL, KEYS_EACH = 3, 15, 40, 12
INDEX = Wanted("content_sha256", "BTREE", 1)
KILLS, FRAGMENTS = 5, 40


def plan(number: int) -> list[dict[int, int]]:
    """What one writer will commit: the second of each key's source, commit by commit."""
    chance = random.Random(100 + number)
    return [{key: chance.randrange(9) for key in chance.sample(range(KEYS_IN_ALL), KEYS_EACH)} for _ in range(COMMITS)]


def write(folder: Path, number: int, start: Any) -> None:
    start.wait()
    for turn, seconds in enumerate(plan(number)):
        given = assignment(folder, f"run-{number}-{turn}")
        items = [{"key": key, "second": second, "at": number * 1000 + turn} for key, second in seconds.items()]
        commit(given, staged(given, *items))


def keep_maintaining(folder: Path, start: Any, over: Any) -> None:
    table = str(folder / "t.lance")
    start.wait()
    while not over.is_set():
        maintain(table, keep_days=0, indexes=[INDEX])


def test_maintaining_beside_writers_loses_and_doubles_nothing(tmp_path: Path) -> None:
    assignment(tmp_path, "the table")
    spawn = multiprocessing.get_context("spawn")
    start, over = spawn.Barrier(WRITERS + 2), spawn.Event()
    writers = [spawn.Process(target=write, args=(tmp_path, number, start)) for number in range(WRITERS)]
    keepers = [spawn.Process(target=keep_maintaining, args=(tmp_path, start, over)) for _ in range(2)]
    for process in writers + keepers:
        process.start()
    for process in writers:
        process.join(120)
    over.set()
    for process in keepers:
        process.join(60)
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
    assert runs[0]["n"] > 4, "too few calls to prove anything"


def start_job(spec: JobSpec, folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    path = folder / "job.json"
    path.write_text(spec.model_dump_json())
    command = [sys.executable, "-m", "clipflow", *(word.format(job=path) for word in words)]
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


def test_a_job_goes_on_while_its_table_is_maintained(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(150))
    encoder = {"model": "stub:dim=16,ms=20", "loader": "stub"}
    spec = job(tmp_path / "images", tmp_path / "t.lance", encoder=encoder, table={"commit_rows": 5})
    process = start_job(spec, tmp_path, "run", "{job}", "--ray", "none")
    compacted = 0
    while process.poll() is None:
        if (tmp_path / "t.lance").exists():
            report = maintain(str(tmp_path / "t.lance"), keep_days=0, indexes=[INDEX])
            compacted += report.version > report.from_version
        time.sleep(0.05)
    assert process.returncode == 0, (tmp_path / "log.txt").read_text()[-2000:]
    assert compacted > 1, "the job was over too soon to prove anything"
    assert_unique_ever(tmp_path / "t.lance")
    again = clipflow.run(spec, ray="none").document()
    assert (again["listed"], again["unchanged"]) == (150, 150)
    assert len(rows(tmp_path / "t.lance")) == 150


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
    chance = random.Random(8)
    spec = job(tmp_path, tmp_path / "t.lance")
    killed = 0
    for turn in range(KILLS):
        scatter(tmp_path, turn)
        before = rows(tmp_path / "t.lance")
        process = start_job(spec, tmp_path, "maintain", str(tmp_path / "t.lance"))
        while process.poll() is None and under_way(tmp_path) == killed:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.06))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed = under_way(tmp_path)
        assert rows(tmp_path / "t.lance") == before
    assert killed >= 2, "the moments were too late to prove anything"
    report = maintain(str(tmp_path / "t.lance"))
    assert report.fragments_after == 1
    assert rows(tmp_path / "t.lance") == before
    assert len(before) == KILLS * FRAGMENTS
    assert_unique_ever(tmp_path / "t.lance")
    assert maintain(str(tmp_path / "t.lance")).version == report.version
