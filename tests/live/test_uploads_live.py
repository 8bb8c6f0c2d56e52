"""The watcher of uploads in a real Airflow whose triggerer is killed: every upload gets its row."""

import json
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clipflow_airflow.sketch import Sketch
from clipflow_airflow.stack import Stack
from tests.catalogues import picture, rows
from tests.live.runs import patiently

DAG = "watched_uploads"
DAG_FILE = Path(__file__).parents[2] / "dags" / "clip_embed_uploads.py"

pytestmark = pytest.mark.timeout(900)


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
        path = "/assets/events?order_by=timestamp&limit=100&name_pattern=clip_uploads"
        found = patiently(lambda: self.stack.get(path))["asset_events"]
        return [event["extra"]["payload"] for event in found if event["extra"].get("from_trigger")]

    def runs(self) -> list[dict[str, Any]]:
        """The runs of the DAG."""
        found: list[dict[str, Any]] = patiently(lambda: self.stack.get(f"/dags/{DAG}/dagRuns?limit=100"))["dag_runs"]
        return found


@pytest.fixture(scope="module")
def uploads(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uploads]:
    home = tmp_path_factory.mktemp("watched")
    folder, table, job = home / "uploads", home / "catalog.lance", home / "job.json"
    folder.mkdir()
    made = Uploads(stack, folder, table)
    made.add("before.png")
    source, encoder = {"uri": f"{folder}/"}, {"model": "demo"}
    job.write_text(json.dumps({"name": "watched", "source": source, "encoder": encoder, "table": {"uri": str(table)}}))
    variables = {
        "CLIPFLOW_UPLOADS": str(folder),
        "CLIPFLOW_POLL_SECONDS": "1",
        "CLIPFLOW_JOB_FILE": str(job),
        "CLIPFLOW_CONN_ID": "local",
        "CLIPFLOW_RAY": "none",
        "CLIPFLOW_POOL": "default_pool",
    }
    text = DAG_FILE.read_text(encoding="utf-8").replace(f'"{DAG_FILE.stem}"', f'"{DAG}"')
    file = stack.dags / f"{DAG}.py"
    # The same DAG under another name, told by its own variables where to look.
    file.write_text(f"import os\nos.environ |= {variables!r}\n{text}", encoding="utf-8")
    try:
        until(lambda: DAG in [dag["dag_id"] for dag in patiently(lambda: stack.get("/dags?limit=100"))["dags"]])
        stack.patch(f"/dags/{DAG}", {"is_paused": False})
        # Its watchers begin at the first reading after that, and a file that was touched is read at once.
        file.touch()
        yield made
    finally:
        file.unlink()


def until(holds: Callable[[], bool], seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.5)


def test_uploads_start_runs(uploads: Uploads) -> None:
    until(lambda: len(uploads.events()) == 1)
    (event,) = uploads.events()
    assert (event["new"], event["listed"]) == (1, 1)

    newest = (uploads.folder / "before.png").stat().st_mtime
    uploads.add("same-moment.png", newest)
    until(lambda: len(uploads.events()) == 2)
    uploads.add("late.png", newest - 86_400 * 400)
    until(lambda: len(uploads.events()) == 3)
    until(uploads.settled)
    assert all(event["oldest"] == event["newest"] for event in uploads.events()[1:])
    until(lambda: {run["state"] for run in uploads.runs()} == {"success"})
    assert {run["run_type"] for run in uploads.runs()} == {"asset_triggered"}


def test_no_upload_is_missed_when_the_triggerer_is_killed(uploads: Uploads) -> None:
    dice = random.Random(7)
    for turn in range(2):
        uploads.add(f"alive-{turn}.png")
        # Anywhere between the upload, the look, the event and what is remembered of it.
        time.sleep(dice.uniform(0, 4))
        uploads.stack.kill("triggerer")
        uploads.add(f"away-{turn}.png", dice.choice([None, 1_000_000_000]))
        uploads.stack.start("triggerer")
    until(uploads.settled)

    # What is remembered outlives the triggerer: it sends nothing of what is known.
    until(lambda: remembered(uploads) == uploads.made)
    before = len(uploads.events())
    uploads.stack.kill("triggerer")
    uploads.stack.start("triggerer")
    uploads.add("last.png")
    until(uploads.settled)
    assert [event["new"] for event in uploads.events()[before:]] == [1]


def remembered(uploads: Uploads) -> int:
    (asset,) = uploads.stack.get("/assets?name_pattern=clip_uploads")["assets"]
    (kept,) = uploads.stack.get(f"/assets/{asset['id']}/state-store")["asset_state_store"]
    return len(Sketch.read(kept["value"]["sketch"]))
