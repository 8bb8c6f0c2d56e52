"""Law 9 beside other operations: nothing brings a row back, and what began before is waited for."""

import itertools
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import clipflow
from clipflow.errors import OperationClosed, StagedFilesGone, StillRunning
from clipflow.forget.delete import delete
from clipflow.forget.erase import Erased, erase
from clipflow.forget.files import TableFiles
from clipflow.forget.forget import forget
from clipflow.forget.secrets import Secrets, gather_secrets
from clipflow.forget.verify import verify
from clipflow.report import RunReport
from clipflow.schema import RUNS
from clipflow.spec import JobSpec
from clipflow.table.commit import Committer
from clipflow.table.forgotten import Forgotten
from clipflow.table.guard import Change, guarded_commit, write_fragments
from clipflow.table.runs import Operation
from clipflow.uri import image_id
from tests.catalogues import assert_unique_ever, draw, job, rows
from tests.drivers import FORKS, PATIENCE, Driver, versions
from tests.examples import chances, turns
from tests.forget.catalogue import assignment, fill, holders, index, staged, uri_of, values, vector_of
from tests.table.staging import commit

KILLS, ROWS_EACH = 7, 30
WRITERS, KEYS_IN_ALL, KEYS_EACH, FORGOTTEN_KEYS = 3, 40, 10, 6


def row(key: int, **more: Any) -> dict[str, Any]:
    return {"key": key, "bytes": key, "caption": f"caption of number {key:05}", **more}


def uri(folder: Path) -> str:
    return str(folder / "t.lance")


def opened(folder: Path, run_id: str) -> Operation:
    given = assignment(folder, run_id)
    return Operation(given.address, given.record, RunReport(run_id, version=1))


def assert_gone(folder: Path, *keys: int) -> None:
    table = folder / "t.lance"
    found = values(table)
    for key in keys:
        assert image_id(uri_of(key)) not in found["image_id"]
        assert vector_of(key).astype(np.float16).tobytes() not in found["vector"]
        for trace in (uri_of(key), image_id(uri_of(key)), f"caption of number {key:05}"):
            assert not holders(table, trace.encode()), trace


def states(folder: Path) -> dict[str, str]:
    found = lance.dataset(str(folder / "t_runs.lance")).to_table(columns=["run_id", "state"]).to_pylist()
    return {one["run_id"]: one["state"] for one in found}


def test_an_operation_that_began_before_is_pending_and_a_second_call_finishes(tmp_path: Path) -> None:
    fill(tmp_path, [row(1), row(2)])
    with opened(tmp_path, "a job") as operation:
        operation.open()
        with pytest.raises(StillRunning, match="a job") as caught:
            forget(uri(tmp_path), uris=[uri_of(1)], wait=0)
        report = caught.value.report
        assert report is not None
        assert (report["verified"], report["pending"], report["forgotten"]) == (False, ["a job"], 1)
        assert rows(tmp_path / "t.lance").keys() == {image_id(uri_of(2))}
        assert holders(tmp_path / "t.lance", uri_of(1).encode()), "old versions are still needed"
        assert caught.value.retryable
    assert forget(uri(tmp_path), uris=[uri_of(1)], wait=0).verified
    assert_gone(tmp_path, 1)


def test_waiting_ends_when_the_operation_does(tmp_path: Path) -> None:
    fill(tmp_path, [row(1), row(2)])
    script = (
        "import sys, time; from pathlib import Path; from tests.forget.test_beside import opened\n"
        "with opened(Path(sys.argv[1]), 'a job') as job: job.open(); print('open', flush=True); sys.stdin.readline()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StillRunning):
            forget(uri(tmp_path), uris=[uri_of(1)], wait=0.1)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert forget(uri(tmp_path), uris=[uri_of(1)], wait=PATIENCE).verified
    assert states(tmp_path)["a job"] == "done"


def test_an_operation_whose_process_died_is_closed_and_not_waited_for(tmp_path: Path) -> None:
    fill(tmp_path, [row(1), row(2)])
    script = (
        "import os, signal, sys; from pathlib import Path; from tests.forget.test_beside import opened\n"
        "opened(Path(sys.argv[1]), 'a job').open(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)]).returncode == -signal.SIGKILL
    assert states(tmp_path)["a job"] == "running"
    assert forget(uri(tmp_path), uris=[uri_of(1)], wait=0).verified
    assert states(tmp_path)["a job"] == "closed"


def grow_silent(operation: Operation, folder: Path, minutes: int) -> None:
    """As if its last heartbeat were so old, and its process on another host."""
    address = assignment(folder, "clock").address

    def decide(runs: lance.LanceDataset) -> Change:
        there = runs.to_table(filter=pc.field("run_id") == operation.run_id, with_row_address=True)
        (one,) = there.drop_columns(["_rowaddr"]).to_pylist()
        one |= {"heartbeat_at": datetime.now(UTC) - timedelta(minutes=minutes), "process": "another/1/2/3"}
        table = pa.Table.from_pylist([one], RUNS)
        return Change(write_fragments(table, address, address.runs, RUNS), there.column("_rowaddr").to_pylist())

    guarded_commit(address, address.runs, decide, {})


def test_an_operation_that_fell_silent_is_closed_and_commits_nothing_more(tmp_path: Path) -> None:
    fill(tmp_path, [row(1), row(2)])
    operation = opened(tmp_path, "a job")
    operation.open()
    grow_silent(operation, tmp_path, minutes=2)
    with pytest.raises(StillRunning):
        forget(uri(tmp_path), uris=[uri_of(1)], wait=0)
    grow_silent(operation, tmp_path, minutes=10)
    assert forget(uri(tmp_path), uris=[uri_of(1)], wait=0).verified
    with pytest.raises(OperationClosed):
        operation.ensure_open()
    assert states(tmp_path)["a job"] == "closed"


def test_rows_staged_before_do_not_land_after(tmp_path: Path) -> None:
    """A run fetched the image before the request; it commits after it, and leaves no file with the row."""
    fill(tmp_path, [row(1), row(2)])
    given = assignment(tmp_path, "slow")
    waiting = staged(given, [row(1, bytes=101, second=5), row(3)])
    with opened(tmp_path, "slow") as operation:
        operation.open()
        with pytest.raises(StillRunning):
            forget(uri(tmp_path), uris=[uri_of(1)], wait=0)
    landed = commit(assignment(tmp_path, "slow again"), waiting)
    assert landed.outcomes == {"forgotten": 1, "embedded": 1}
    assert rows(tmp_path / "t.lance").keys() == {image_id(uri_of(2)), image_id(uri_of(3))}
    assert vector_of(101).astype(np.float16).tobytes() not in values(tmp_path / "t.lance")["vector"]
    assert forget(uri(tmp_path), uris=[uri_of(1)]).verified
    assert_gone(tmp_path, 1, 101)


def test_a_job_beside_us_keeps_what_it_staged(tmp_path: Path) -> None:
    """What began later is not waited for: its files stay, but for those that no commit could name."""
    fill(tmp_path, [row(1), row(2)])
    given = assignment(tmp_path, "beside")
    fine, lost = staged(given, [row(4)]), staged(given, [row(1, bytes=101), row(5)])
    secrets = Secrets(Forgotten(frozenset([image_id(uri_of(1))])), frozenset())
    with opened(tmp_path, "forgetting") as forgetting, opened(tmp_path, "beside") as beside:
        forgetting.open()
        beside.open()
        delete(given.address, secrets, forgetting)
        files = TableFiles(given.address)
        gather_secrets(files, secrets)
        erase(files, secrets, forgetting, Erased())
        assert verify(files, secrets).found == {}
        Committer(given, beside).commit([fine])
        with pytest.raises(StagedFilesGone):
            Committer(given, beside).commit([lost])
    assert rows(tmp_path / "t.lance").keys() == {image_id(uri_of(key)) for key in (2, 4)}


def test_a_call_killed_at_any_moment_is_finished_by_the_next(tmp_path: Path) -> None:
    chance = chances("a call of forget killed")
    killed, at_work = 0, 0
    for turn in range(turns(KILLS)):
        first = turn * ROWS_EACH
        fill(tmp_path, [row(key) for key in range(first, first + ROWS_EACH)])
        if turn == 3:
            index(tmp_path / "t.lance")
        lance.dataset(uri(tmp_path)).tags.create(f"tag-{turn}", lance.dataset(uri(tmp_path)).version)
        gone = [first, first + 1, first + 2]
        before = set(states(tmp_path))
        driver = Driver("forget", uri(tmp_path), "--uri", *map(uri_of, gone))
        driver.until(lambda before=before: set(states(tmp_path)) != before, "it began")  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.4))
        killed += driver.kill()
        kept = rows(tmp_path / "t.lance")
        at_work += bool(holders(tmp_path / "t.lance", uri_of(first).encode()))
        # The next one asks for something else, and finishes what this one began.
        report = forget(uri(tmp_path), uris=[uri_of(first + 9)], wait=0)
        assert report.verified
        asked = {image_id(uri_of(key)) for key in gone}
        after = rows(tmp_path / "t.lance")
        if not asked & set(tombstones(tmp_path)):
            forget(uri(tmp_path), uris=[uri_of(key) for key in gone], wait=0)
            after = rows(tmp_path / "t.lance")
        assert_gone(tmp_path, *gone, first + 9)
        assert after == {key: one for key, one in kept.items() if key not in asked | {image_id(uri_of(first + 9))}}
    print(f"{killed} of {turns(KILLS)} were killed, {at_work} of them before they had erased")


def tombstones(folder: Path) -> list[str]:
    path = folder / "t_forgotten.lance"
    return lance.dataset(str(path)).to_table()["hash"].to_pylist() if path.exists() else []


def write(folder: Path, number: int, begin: Any, over: Any) -> None:
    chance = random.Random(number)
    begin.wait(PATIENCE)
    for turn in itertools.count():
        if over.is_set():
            return
        given = assignment(folder, f"run-{number}-{turn}")
        items = [row(key, second=chance.randrange(50)) for key in chance.sample(range(KEYS_IN_ALL), KEYS_EACH)]
        with Operation(given.address, given.record, RunReport(given.run_id)) as operation:
            operation.open()
            waiting = staged(given, items)
            time.sleep(chance.uniform(0, 0.05))
            Committer(given, operation).commit([waiting])


def test_nothing_returns_beside_writers_of_the_same_images(tmp_path: Path) -> None:
    """Each deletion waits for the writers there are, erases beside those that come, and they all go on."""
    assignment(tmp_path, "the table")
    begin, over = FORKS.Barrier(WRITERS + 1), FORKS.Event()
    writers = [
        FORKS.Process(target=write, args=(tmp_path, number, begin, over), daemon=True) for number in range(WRITERS)
    ]
    for process in writers:
        process.start()
    begin.wait(PATIENCE)
    for key in range(FORGOTTEN_KEYS):
        report = forget(uri(tmp_path), uris=[uri_of(key)], wait=PATIENCE)
        assert report.verified
        assert all(process.is_alive() for process in writers)
        there = rows(tmp_path / "t.lance", ["image_id"])
        assert not there.keys() & {image_id(uri_of(gone)) for gone in range(key + 1)}
    over.set()
    for process in writers:
        process.join(PATIENCE)
    assert [process.exitcode for process in writers] == [0] * WRITERS
    assert_unique_ever(tmp_path / "t.lance")
    assert rows(tmp_path / "t.lance").keys() <= {image_id(uri_of(key)) for key in range(FORGOTTEN_KEYS, KEYS_IN_ALL)}
    assert forget(uri(tmp_path), uris=[uri_of(0)]).verified
    assert_gone(tmp_path, *range(FORGOTTEN_KEYS))


def test_a_running_job_does_not_bring_an_image_back(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(120))
    (tmp_path / "gate").touch()

    def spec(model: str) -> JobSpec:
        encoder = {"model": model, "loader": "stub"}
        return job(tmp_path / "images", tmp_path / "t.lance", encoder=encoder, table={"commit_rows": 5})

    (tmp_path / "job.json").write_text(spec("stub:dim=16,gate=11").model_dump_json())
    driver = Driver("run", tmp_path / "job.json", "--ray", "none", gate=tmp_path / "gate", one_cpu=True)
    assert driver.until(lambda: versions(tmp_path / "t.lance") == 3, "two commits"), driver.log
    # Some that landed, and some that are under way.
    landed = sorted(row["source_uri"] for row in rows(tmp_path / "t.lance").values())
    later = sorted({f"file://{path}" for path in (tmp_path / "images").iterdir()} - set(landed))
    gone = [landed[0], *later[::28]]
    with pytest.raises(StillRunning):
        forget(uri(tmp_path), uris=gone, wait=0)
    (tmp_path / "gate").unlink()
    assert forget(uri(tmp_path), uris=gone, wait=PATIENCE).verified
    assert driver.wait() == 0, driver.log
    (run,) = clipflow.open(uri(tmp_path)).sql("select * from runs where verb = 'run'")
    assert (run["listed"], run["forgotten"], run["embedded"]) == (120, len(gone) - 1, 121 - len(gone))
    again = clipflow.run(spec("stub:dim=16"), ray="none").document()
    assert (again["unchanged"], again["forgotten"], again["embedded"]) == (120 - len(gone), len(gone), 0)
    for name in gone:
        assert not holders(tmp_path / "t.lance", name.encode())
        assert image_id(name) not in values(tmp_path / "t.lance")["image_id"]
