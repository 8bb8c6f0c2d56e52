"""Backfills of the daily DAG on a real Airflow and a real Ray: four days, three at a time, and the last two again."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from clipflow.demo.catalogue import Catalogue, make_catalogue
from clipflow.query.sql import sql
from clipflow.schema import COUNTS
from clipflow_airflow.stack import Stack
from tests.live.runs import Run, patiently, until

DAG = "clip_embed_daily"
DAYS, PER_DAY, AGAIN = 4, 8, 2
LAST = date(2026, 3, 10)
TASK = "embed_images"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder = tmp_path_factory.mktemp("catalogue") / "uploads"
    return make_catalogue(folder, days=DAYS, per_day=PER_DAY, end=LAST)


@pytest.fixture(scope="module")
def job(uploads: Catalogue) -> Path:
    path = uploads.folder.with_name("job.json")
    source, table = {"uri": f"{uploads.folder}/"}, {"uri": f"{path.parent}/catalog.lance"}
    path.write_text(json.dumps({"name": "t", "source": source, "encoder": {"model": "demo"}, "table": table}))
    return path


@pytest.fixture(autouse=True)
def awake(three_slots: Stack) -> Iterator[None]:
    """The DAG may run, three jobs at a time; a backfill of a DAG that sleeps waits for ever."""
    three_slots.patch(f"/dags/{DAG}", {"is_paused": False})
    yield
    three_slots.patch(f"/dags/{DAG}", {"is_paused": True})


def runs(stack: Stack, days: int) -> list[Run]:
    """The runs of the last so many days, the first day first."""
    bounds = "logical_date_gte=2026-03-07T00:00:00Z&logical_date_lte=2026-03-12T00:00:00Z"
    found = patiently(lambda: stack.get(f"/dags/{DAG}/dagRuns?limit=100&order_by=logical_date&{bounds}"))
    return [Run(stack, DAG, run["dag_run_id"], TASK) for run in found["dag_runs"]][-days:]


def finished(stack: Stack, backfill: int, days: int) -> list[Run]:
    """Wait for a backfill of the last so many days; its runs."""

    def over() -> list[Run] | None:
        found = runs(stack, days)
        states = [run.instance()["state"] for run in found]
        assert "failed" not in states
        done = len(found) == days and set(states) == {"success"}
        return found if done and patiently(lambda: stack.get(f"/backfills/{backfill}"))["completed_at"] else None

    return until(over, 800, f"backfill {backfill}")


def report(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = run.xcom()
    assert found["listed"] == sum(found[way] for way in COUNTS[1:])
    return found


def rows(table: Path) -> list[dict[str, Any]]:
    query = "select image_id, content_sha256, status, dag_run_id, embedded_at from images order by image_id"
    found: list[dict[str, Any]] = sql(str(table), query)
    return found


def test_four_days_and_two_of_them_again(stack: Stack, uploads: Catalogue, job: Path) -> None:
    import lance

    table = job.with_name("catalog.lance")
    body = {
        "dag_id": DAG,
        "from_date": datetime(2026, 3, 7, tzinfo=UTC).isoformat(),
        "to_date": datetime(2026, 3, 10, tzinfo=UTC).isoformat(),
        "max_active_runs": 3,
        "dag_run_conf": {"job_file": str(job), "conn_id": "ray_default"},
    }
    dry = patiently(lambda: stack.post("/backfills/dry_run", body))
    assert dry["total_entries"] == DAYS
    first = finished(stack, patiently(lambda: stack.post("/backfills", body))["id"], DAYS)

    # Windows overlap by the lateness, so two runs at once may both do an image; the later row stays, and it is one.
    reports = [report(run) for run in first]
    assert sum(found["embedded"] + found["reused"] + found["failed"] for found in reports) >= uploads.files
    landed = rows(table)
    assert len(landed) == len({row["image_id"] for row in landed}) == uploads.files
    for version in lance.dataset(str(table)).versions():
        ids = lance.dataset(str(table), version=version["version"]).to_table(["image_id"])["image_id"].to_pylist()
        assert len(ids) == len(set(ids)), version
    assert all(run.jobs() == {"0": "SUCCEEDED"} for run in first)

    # The last days by the command line: the same runs do their work again, and find nothing to do.
    before = lance.dataset(str(table)).version
    words = ["--dag-id", DAG, "--from-date", "2026-03-09", "--to-date", "2026-03-10", "--max-active-runs", "3"]
    conf = ["--dag-run-conf", json.dumps(body["dag_run_conf"]), "--reprocess-behavior", "completed"]
    done = stack.airflow("backfill", "create", *words, *conf)
    assert done.returncode == 0, done.stderr
    newest = max(patiently(lambda: stack.get(f"/backfills?dag_id={DAG}"))["backfills"], key=lambda found: found["id"])
    until(lambda: True if any(len(run.jobs()) == 2 for run in runs(stack, AGAIN)) else None, 300, "a second job")
    again = finished(stack, newest["id"], AGAIN)
    assert [run.run_id for run in again] == [run.run_id for run in first[-AGAIN:]]
    assert all(run.jobs() == {"0": "SUCCEEDED", "1": "SUCCEEDED"} for run in again)
    for found in map(report, again):
        assert found["unchanged"] == found["listed"]
    assert lance.dataset(str(table)).version == before
    assert rows(table) == landed
