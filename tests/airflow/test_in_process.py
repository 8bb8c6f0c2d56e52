"""The operator in the worker's own process: days, repeats, asset events, and jobs that are wrong."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clipflow.demo.catalogue import Catalogue, make_catalogue
from clipflow_airflow.sandbox import Sandbox
from tests.tiny_models import tiny_clip

DAYS, PER_DAY = 3, 8


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return make_catalogue(tmp_path_factory.mktemp("catalogue") / "uploads", days=DAYS, per_day=PER_DAY)


def write_job(path: Path, uploads: Catalogue, **more: Any) -> str:
    source, table = {"uri": f"{uploads.folder}/"}, {"uri": f"{path.parent}/catalog.lance"}
    job = {"name": "t", "source": source, "encoder": {"model": "demo"}, "table": table, **more}
    path.write_text(json.dumps(job))
    return str(path)


def events() -> list[dict[str, Any]]:
    """What the asset's events carry, oldest first."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return [event.extra for event in session.scalars(select(AssetEvent).order_by(AssetEvent.id))]


def test_three_days_and_one_of_them_again(
    sandbox: Sandbox, uploads: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clipflow.query.sql import sql

    job = {"job_file": write_job(tmp_path / "job.json", uploads), "conn_id": "local"}
    ends = [datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1) for day in uploads.days]
    before = len(events())
    reports: list[dict[str, Any]] = []
    for end in [*ends, ends[-1]]:
        outcome = sandbox.run("clip_embed_daily", end, job)
        changes = end != ends[-1] or len(reports) < len(ends)
        assert outcome.tasks == {"embed_images": "success", "audit_table": "success" if changes else "skipped"}
        reports.append(outcome.results["embed_images"])

    written = [report["embedded"] + report["reused"] + report["failed"] for report in reports]
    assert written == [PER_DAY, PER_DAY, PER_DAY, 0]
    assert reports[3]["version"] == reports[2]["version"]
    assert reports[3]["unchanged"] == reports[3]["listed"]

    query = "select count(*) as n, count(distinct image_id) as ids, min(dag_id) as dag_id from images"
    assert sql(f"{tmp_path}/catalog.lance", query) == [
        {"n": DAYS * PER_DAY, "ids": DAYS * PER_DAY, "dag_id": "clip_embed_daily"}
    ]
    told = events()[before:]
    assert [event["version"] for event in told] == [report["version"] for report in reports[:3]]
    assert told[0]["table"] == reports[0]["table"]


def test_what_is_gone_shows_when_the_whole_source_is_listed(sandbox: Sandbox, tmp_path: Path) -> None:
    from clipflow.query.sql import sql

    mine = make_catalogue(tmp_path / "uploads", days=2, per_day=PER_DAY)
    job = {"job_file": write_job(tmp_path / "job.json", mine), "conn_id": "local"}
    end = datetime(mine.days[-1].year, mine.days[-1].month, mine.days[-1].day, tzinfo=UTC) + timedelta(days=1)
    for until in (end - timedelta(days=1), end):
        assert sandbox.run("clip_embed_daily", until, job).state == "success"
    table = f"{tmp_path}/catalog.lance"
    (gone,) = sql(table, "select source_uri as uri from images where status = 'accepted' order by 1 limit 1")
    Path(gone["uri"].removeprefix("file://")).unlink()
    assert sandbox.run("clip_embed_daily", end, job).results["embed_images"]["withdrawn"] == 0, "an interval sees none"
    done = sandbox.run("clip_reconcile", end, job)
    report = done.results["reconcile_table"]
    assert (report["listed"], report["unchanged"], report["withdrawn"]) == (2 * PER_DAY - 1, 2 * PER_DAY - 1, 1)
    again = sandbox.run("clip_reconcile", end + timedelta(days=7), job)
    assert again.results["reconcile_table"]["version"] == report["version"]


def test_a_day_that_the_gate_stops_is_not_announced(
    sandbox: Sandbox, uploads: Catalogue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = {"job_file": write_job(tmp_path / "job.json", uploads), "conn_id": "local", "fail_if": "rejected_share >= 0"}
    day = uploads.days[0]
    before = len(events())
    outcome = sandbox.run(
        "clip_embed_daily", datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1), job
    )
    assert outcome.tasks == {"embed_images": "success", "audit_table": "failed"}
    assert "rejected_share >= 0" in capsys.readouterr().out
    assert events()[before:] == []


def test_on_demand(sandbox: Sandbox, uploads: Catalogue, tmp_path: Path) -> None:
    form = {
        "uri": f"{uploads.folder}/*.png",
        "table": f"{tmp_path}/demand.lance",
        "model": "demo",
        "policy": {"rules": [{"name": 'small"', "score": "min_side", "reject_below": 32}]},
        "conn_id": "local",
    }
    wrong = sandbox.run("clip_embed_on_demand", None, form)
    assert wrong.tasks == {"embed_images": "failed"}
    assert not (tmp_path / "demand.lance").exists()

    form["policy"] = {"rules": [{"name": "small", "score": "min_side", "reject_below": 32}]}
    right = sandbox.run("clip_embed_on_demand", None, form)
    assert right.tasks == {"embed_images": "success"}
    assert right.results["embed_images"]["listed"] == len(list(uploads.folder.glob("*.png")))


def test_migrate_encoder(sandbox: Sandbox, uploads: Catalogue, tmp_path: Path) -> None:
    table = f"{tmp_path}/demand.lance"
    near = {"rules": [{"name": "near", "score": "near_duplicate", "reject_above": 0.999}]}
    form = {"uri": f"{uploads.folder}/*.png", "table": table, "model": "demo", "policy": near, "conn_id": "local"}
    assert sandbox.run("clip_embed_on_demand", None, form).state == "success"
    more = {"table": table, "encoder": str(tiny_clip(tmp_path / "clip")), "conn_id": "local"}
    refused = sandbox.run("clip_migrate_encoder", None, more)
    assert refused.tasks == {"migrate_encoder": "failed"}
    before = len(events())
    done = sandbox.run("clip_migrate_encoder", None, {**more, "policy": near})
    assert done.tasks == {"migrate_encoder": "success"}
    report = done.results["migrate_encoder"]
    assert (report["from_table"], report["switched"]) == (table, True)
    assert [event["table"] for event in events()[before:]] == [report["table"]], "which the maintenance follows"


def test_a_wrong_job_file_is_final(
    sandbox: Sandbox, uploads: Catalogue, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = {"job_file": write_job(tmp_path / "job.json", uploads, polcy={}), "conn_id": "local"}
    outcome = sandbox.run("clip_embed_daily", datetime(2026, 11, 3, tzinfo=UTC), job)
    assert outcome.tasks == {"embed_images": "failed", "audit_table": "upstream_failed"}
    assert "AirflowFailException: " in (said := capsys.readouterr().out)
    assert "Did you mean 'policy'?" in said
    assert not (tmp_path / "catalog.lance").exists()
