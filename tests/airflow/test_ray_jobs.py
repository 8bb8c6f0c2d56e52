"""The operator against a real Ray head: one Ray job, its report, and its own words when it fails."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from clipflow_airflow.hook import RayJobsHook
from clipflow_airflow.sandbox import Sandbox
from clipflow_airflow.submission import submission_ids

if TYPE_CHECKING:
    from conftest import RayHead

DAY = datetime(2026, 11, 3, tzinfo=UTC)
DAG = "clip_embed_daily"

pytestmark = pytest.mark.timeout(90)


def connect(monkeypatch: pytest.MonkeyPatch, url: str, token: str | None) -> str:
    connection = {"conn_type": "ray", "host": url, "password": token, "extra": {"poll_seconds": 0.2}}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_TEST", json.dumps(connection))
    return "ray_test"


def test_dev(sandbox, ray_head, monkeypatch, tmp_path) -> None:
    conn = connect(monkeypatch, ray_head.url, ray_head.token)
    print(RayJobsHook(conn).test_connection())
    job = tmp_path / "job.yaml"
    job.write_text("name: x\nsource: {uri: /tmp/x/}\nencoder: {model: demo}\ntable: {uri: /tmp/t.lance}\n")
    print(sandbox.run(DAG, DAY, {"job_file": str(job), "conn_id": conn}, DAY))
    print(ray_head.jobs())
    for tok in (None, "wrong"):
        conn = connect(monkeypatch, ray_head.url, tok)
        print(RayJobsHook(conn).test_connection())
    conn = connect(monkeypatch, "http://127.0.0.1:9", tok)
    print(RayJobsHook(conn).test_connection())
