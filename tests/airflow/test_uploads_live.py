"""The watcher of uploads in a real Airflow whose triggerer is killed: every upload gets its row."""

import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clipflow_airflow.sketch import Sketch
from clipflow_airflow.stack import Stack
from tests.catalogues import picture, rows

DAG = "clip_embed_uploads"
DAG_FILE = Path(__file__).parents[2] / "dags" / f"{DAG}.py"

pytestmark = pytest.mark.timeout(600)


@dataclass
class Uploads:
    """A folder that a DAG of a running Airflow watches, and what has become of it."""

    stack: Stack
    folder: Path
    table: Path
    made: int = 0

    def add(self, name: str, at: float | None = None) -> None:
        """One more picture, moved in whole, perhaps with a time of its own."""
        self.made += 1
        draft = self.folder.with_name("draft")
        draft.write_bytes(picture(self.made))
        if at is not None:
            os.utime(draft, (at, at))
        draft.rename(self.folder / name)

    def settled(self) -> bool:
        """Whether the table holds a row for each upload."""
        there = {f"file://{path}" for path in self.folder.iterdir()}
        return self.table.exists() and {row["source_uri"] for row in rows(self.table).values()} == there

    def events(self) -> list[dict[str, Any]]:
        """What the watcher has sent, oldest first."""
        found = self.stack.get("/assets/events?order_by=timestamp&limit=100")["asset_events"]
        return [event["extra"]["payload"] for event in found if event["extra"].get("from_trigger")]

    def runs(self) -> list[dict[str, Any]]:
        """The runs of the DAG."""
        found: list[dict[str, Any]] = self.stack.get(f"/dags/{DAG}/dagRuns?limit=100")["dag_runs"]
        return found


@pytest.fixture(scope="module")
def uploads() -> Iterator[Uploads]:
    # PostgreSQL serves under an account of its own, which may not enter pytest's folders.
    home = Path(tempfile.mkdtemp(prefix="cf-watched-"))
    home.chmod(0o711)
    try:
        yield from watched(home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def watched(home: Path) -> Iterator[Uploads]:
    folder, table = home / "uploads", home / "catalog.lance"
    for name in ("uploads", "dags"):
        (home / name).mkdir()
    shutil.copy(DAG_FILE, home / "dags")
    job = {
        "name": "watched",
        "source": {"uri": f"{folder}/"},
        "encoder": {"model": "demo"},
        "table": {"uri": str(table)},
    }
    (home / "job.json").write_text(json.dumps(job))
    environment = {
        "CLIPFLOW_UPLOADS": str(folder),
        "CLIPFLOW_POLL_SECONDS": "1",
        "CLIPFLOW_JOB_FILE": str(home / "job.json"),
        # A killed triggerer counts as alive for this long, and its watch as taken.
        "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "6",
        "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    }
    with Stack(home / "airflow", home / "dags", ray=False, environment=environment) as stack:
        made = Uploads(stack, folder, table)
        made.add("before.png")
        stack.patch(f"/dags/{DAG}", {"is_paused": False})
        yield made


def until(holds: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.5)


def test_uploads_start_runs(uploads: Uploads) -> None:
    until(uploads.settled)
    (event,) = uploads.events()
    assert (event["new"], event["listed"]) == (1, 1)

    newest = (uploads.folder / "before.png").stat().st_mtime
    uploads.add("same-moment.png", newest)
    until(uploads.settled)
    uploads.add("late.png", newest - 86_400 * 400)
    until(uploads.settled)
    assert len(uploads.events()) == 3
    assert all(event["oldest"] == event["newest"] for event in uploads.events()[1:])
    until(lambda: {run["state"] for run in uploads.runs()} == {"success"})
    assert {run["run_type"] for run in uploads.runs()} == {"asset_triggered"}


def test_no_upload_is_missed_when_the_triggerer_is_killed(uploads: Uploads) -> None:
    dice = random.Random(7)
    for turn in range(3):
        uploads.add(f"alive-{turn}.png")
        # Anywhere between the upload, the look, the event and what is remembered of it.
        time.sleep(dice.uniform(0, 4))
        uploads.stack.kill("triggerer")
        uploads.add(f"away-{turn}.png", dice.choice([None, 1_000_000_000]))
        uploads.stack.start("triggerer")
    until(uploads.settled)
    before = len(uploads.events())

    # What is remembered outlives the triggerer: it sends nothing of what is known.
    until(lambda: remembered(uploads) == uploads.made)
    uploads.stack.kill("triggerer")
    uploads.stack.start("triggerer")
    uploads.add("last.png")
    until(uploads.settled)
    assert [event["new"] for event in uploads.events()[before:]] == [1]


def remembered(uploads: Uploads) -> int:
    (asset,) = uploads.stack.get("/assets?name_pattern=clip_uploads")["assets"]
    (kept,) = uploads.stack.get(f"/assets/{asset['id']}/state-store")["asset_state_store"]
    return len(Sketch.read(kept["value"]["sketch"]))
