"""The operator, in this process, against the Ray of the stack: one Ray job, its report, its own words when it fails."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clipflow.demo.catalogue import Catalogue, make_catalogue
from clipflow.jobfile import read_job
from clipflow_airflow.hook import RayJobsHook
from clipflow_airflow.sandbox import Sandbox
from clipflow_airflow.stack import Stack
from clipflow_airflow.submission import Command, TaskKey

DAG = "clip_embed_daily"
PER_DAY = 8

pytestmark = pytest.mark.timeout(1000)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return make_catalogue(tmp_path_factory.mktemp("catalogue") / "uploads", days=2, per_day=PER_DAY)


@pytest.fixture
def job(uploads: Catalogue, tmp_path: Path) -> Path:
    path = tmp_path / "job.json"
    source, table = {"uri": f"{uploads.folder}/"}, {"uri": f"{tmp_path}/catalog.lance"}
    path.write_text(json.dumps({"name": "t", "source": source, "encoder": {"model": "demo"}, "table": table}))
    return path


def connect(monkeypatch: pytest.MonkeyPatch, url: str, token: str | None) -> str:
    connection = {"conn_type": "ray", "host": url, "password": token, "extra": {"poll_seconds": 0.2}}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_TEST", json.dumps(connection))
    return "ray_test"


@pytest.fixture
def conn_id(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> str:
    return connect(monkeypatch, stack.ray_url, stack.ray_token)


def key_of(run_after: datetime) -> TaskKey:
    return TaskKey(DAG, f"manual__{run_after.isoformat()}", "embed_images", -1, 0)


def stem_of(run_after: datetime) -> str:
    return next(key_of(run_after).submission_ids())


def submit(conn_id: str, body: Mapping[str, Any]) -> None:
    async def go() -> bool:
        async with RayJobsHook(conn_id).get_conn() as jobs:
            return await jobs.submit(body)

    assert asyncio.run(go())


def midnight_after(day: Any) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def test_the_connection_is_tested(stack: Stack, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox) -> None:
    def answer(url: str, token: str | None) -> tuple[bool, str]:
        return RayJobsHook(connect(monkeypatch, url, token)).test_connection()

    assert answer(stack.ray_url, stack.ray_token)[0]
    for token, code in ((None, "401"), ("wrong", "403")):
        fine, sentence = answer(stack.ray_url, token)
        assert not fine
        assert code in sentence
        assert "password" in sentence


def test_a_crash_after_submit_leaves_one_job(
    stack: Stack, conn_id: str, sandbox: Sandbox, uploads: Catalogue, job: Path
) -> None:
    until = midnight_after(uploads.days[0])
    stem = stem_of(until)
    interval = [(until - timedelta(days=1)).isoformat(), until.isoformat()]
    spec = read_job(job, ["source.window=modified", "source.lateness=6h"])
    words = ["run", "env:THE_JOB", "--ray", "auto", "--json", "--interval", *interval]
    submit(conn_id, Command(words, {"THE_JOB": json.dumps(spec.body())}).request(stem, key_of(until)))

    outcome = sandbox.run(DAG, until, {"job_file": str(job), "conn_id": conn_id}, until)
    assert outcome.tasks["embed_images"] == "success"
    report = outcome.results["embed_images"]
    assert report["listed"] == PER_DAY
    assert report["embedded"] + report["reused"] + report["failed"] == PER_DAY
    assert len(json.dumps(report)) < 2048

    again = sandbox.run(DAG, until, {"job_file": str(job), "conn_id": conn_id}, until)
    assert again.results["embed_images"] == report
    assert [found["submission_id"] for found in stack.jobs() if found["submission_id"].startswith(stem)] == [stem]


def test_a_job_that_failed_before_gets_a_successor(
    stack: Stack, conn_id: str, sandbox: Sandbox, uploads: Catalogue, job: Path
) -> None:
    # A day without uploads: here the way of the job matters, not the way of the data.
    until = midnight_after(uploads.days[0]) - timedelta(days=3)
    stem = stem_of(until)
    submit(conn_id, {"submission_id": stem, "entrypoint": "python -c 'raise MemoryError'"})

    outcome = sandbox.run(DAG, until, {"job_file": str(job), "conn_id": conn_id}, until)
    assert outcome.tasks["embed_images"] == "success"
    assert outcome.results["embed_images"]["listed"] == 0
    states = {found["submission_id"]: found for found in stack.jobs()}
    assert states[stem]["status"] == "FAILED"
    assert states[f"{stem}-1"]["status"] == "SUCCEEDED"
    assert f"{stem}-2" not in states
    assert states[f"{stem}-1"]["metadata"]["dag_id"] == DAG
    assert stack.ray_token not in json.dumps(stack.jobs())


def test_a_wrong_job_fails_in_its_own_words(
    conn_id: str, sandbox: Sandbox, uploads: Catalogue, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads(job.read_text())
    data["source"]["uri"] = "/no/such/folder/"
    job.write_text(json.dumps(data))
    outcome = sandbox.run(DAG, midnight_after(uploads.days[0]), {"job_file": str(job), "conn_id": conn_id})
    assert outcome.tasks["embed_images"] == "failed"
    said = [line for line in capsys.readouterr().out.splitlines() if "AirflowFailException: " in line]
    assert len(said) == 1
    assert "/no/such/folder" in said[0]


@pytest.mark.parametrize(("token", "kind"), [("wrong", "AirflowFailException"), (None, "AirflowFailException")])
def test_a_wrong_token_is_final(
    stack: Stack,
    monkeypatch: pytest.MonkeyPatch,
    sandbox: Sandbox,
    job: Path,
    capsys: pytest.CaptureFixture[str],
    token: str | None,
    kind: str,
) -> None:
    conn_id = connect(monkeypatch, stack.ray_url, token)
    outcome = sandbox.run(DAG, datetime(2026, 11, 3, tzinfo=UTC), {"job_file": str(job), "conn_id": conn_id})
    assert outcome.tasks["embed_images"] == "failed"
    said = capsys.readouterr().out
    assert f"{kind}: Ray at {stack.ray_url}" in said
    assert stack.ray_token not in said


def test_a_dead_cluster_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conn_id = connect(monkeypatch, "http://127.0.0.1:9", None)
    outcome = sandbox.run(DAG, datetime(2026, 11, 3, tzinfo=UTC), {"job_file": str(job), "conn_id": conn_id})
    assert outcome.tasks["embed_images"] == "failed"
    assert "AirflowException: No Ray cluster answers at http://127.0.0.1:9 " in capsys.readouterr().out
