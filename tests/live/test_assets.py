"""The DAGs that hang together by assets, on a real Airflow and a real Ray."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from clipflow.demo.catalogue import Catalogue, make_catalogue
from clipflow.query.sql import sql
from clipflow_airflow.stack import Stack
from tests.catalogues import draw, rows
from tests.live.runs import Run, patiently, until

pytestmark = pytest.mark.timeout(1500)

SECRET = "hf_ZcQ3vKx8"
FIRST, LAST = date(2026, 3, 1), date(2026, 3, 2)


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return make_catalogue(tmp_path_factory.mktemp("catalogue") / "uploads", days=2, per_day=8, end=LAST)


@pytest.fixture(scope="module", autouse=True)
def shops(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of all operators over two shops, of which the gate stops one; it begins before the other tests."""
    folder = tmp_path_factory.mktemp("shops")
    for name, pictures in {"asia": range(4), "europe": range(10, 13)}.items():
        draw(folder / "images" / name, pictures)
    stack.post("/variables", {"key": "shop_word", "value": SECRET})
    form = {"images": str(folder / "images"), "lake": str(folder / "lake"), "conn_id": "ray_default"}
    return Run.start(stack, "mapped_group", f"shops-{time.time_ns()}", "shops", **form)


@contextmanager
def awake(stack: Stack, *dag_ids: str) -> Iterator[None]:
    for dag_id in dag_ids:
        stack.patch(f"/dags/{dag_id}", {"is_paused": False})
    try:
        yield
    finally:
        for dag_id in dag_ids:
            stack.patch(f"/dags/{dag_id}", {"is_paused": True})


def runs(stack: Stack, dag_id: str, task_id: str) -> list[Run]:
    found = patiently(lambda: stack.get(f"/dags/{dag_id}/dagRuns?limit=100"))["dag_runs"]
    return [Run(stack, dag_id, run["dag_run_id"], task_id) for run in found]


def test_maintenance_follows_embedding(stack: Stack, uploads: Catalogue, tmp_path: Path) -> None:
    import lance

    table = tmp_path / "demand.lance"
    form = {"uri": f"{uploads.folder}/*.png", "table": str(table), "model": "demo", "conn_id": "ray_default"}
    with awake(stack, "clip_embed_on_demand", "clip_maintain_table"):
        embedded = Run.start(stack, "clip_embed_on_demand", f"demand-{time.time_ns()}", "embed_images", **form)
        assert embedded.wait(seconds=600, once=True)["state"] == "success"
        pushed = embedded.xcom()
        assert pushed["embedded"] > 0

        def maintained() -> dict[str, Any] | None:
            for run in runs(stack, "clip_maintain_table", "maintain_table"):
                for one in patiently(lambda run=run: stack.get(f"{run.path}/listMapped"))["task_instances"]:  # type: ignore[misc]
                    if one["state"] == "success" and str(table) in json.dumps(one["rendered_fields"]):
                        return dict(one)
            return None

        # The first run of all works on every table that an event of any test named: this file comes first.
        one = until(maintained, 600, "maintenance of the table")
    assert lance.dataset(str(table), version="published").version >= pushed["version"]
    done = sql(str(table), "select verb, context from runs order by started_at")
    assert [row["verb"] for row in done] == ["run", "maintain"]
    assert [json.loads(row["context"])["dag_id"] for row in done] == ["clip_embed_on_demand", "clip_maintain_table"]
    assert one["rendered_fields"]["keep_days"] == "7"


def test_the_gate_audits_on_ray_and_stops_what_its_condition_names(
    stack: Stack, uploads: Catalogue, tmp_path: Path
) -> None:
    job = tmp_path / "job.json"
    source, target = {"uri": f"{uploads.folder}/"}, {"uri": f"{tmp_path}/gated.lance"}
    job.write_text(json.dumps({"name": "t", "source": source, "encoder": {"model": "demo"}, "table": target}))
    form = {"job_file": str(job), "conn_id": "ray_default", "fail_if": "rejected_share >= 0"}
    with awake(stack, "clip_embed_daily"):
        body: dict[str, Any] = {
            "dag_run_id": f"gated-{time.time_ns()}",
            "logical_date": f"{LAST}T12:00:00Z",
            "conf": form,
        }
        patiently(lambda: stack.post("/dags/clip_embed_daily/dagRuns", body))
        embed, gate = (
            Run(stack, "clip_embed_daily", body["dag_run_id"], task) for task in ("embed_images", "audit_table")
        )
        assert embed.wait(seconds=600, once=True)["state"] == "success"
        assert gate.wait(seconds=600, once=True)["state"] == "failed"
    assert any("rejected_share >= 0" in line for line in gate.log())
    assert gate.jobs() == {"0": "FAILED"}
    assert embed.xcom()["embedded"] > 0


def test_a_partition_for_each_day(stack: Stack, uploads: Catalogue, tmp_path: Path) -> None:
    table, job = tmp_path / "days.lance", tmp_path / "job.json"
    source, target = {"uri": f"{uploads.folder}/"}, {"uri": str(table)}
    job.write_text(json.dumps({"name": "t", "source": source, "encoder": {"model": "demo"}, "table": target}))
    body = {
        "dag_id": "clip_embed_partitions",
        "from_date": f"{FIRST}T00:00:00Z",
        "to_date": f"{LAST}T00:00:00Z",
        "dag_run_conf": {"job_file": str(job), "conn_id": "ray_default"},
    }
    with awake(stack, "clip_embed_partitions"):
        patiently(lambda: stack.post("/backfills", body))
        found = until(lambda: runs(stack, "clip_embed_partitions", "embed_images")[1:] and True, 600, "two runs")
        assert found
        for run in runs(stack, "clip_embed_partitions", "embed_images"):
            assert run.wait(seconds=600, once=True)["state"] == "success"
            assert run.xcom()["listed"] > 0

        def told() -> list[str] | None:
            days = runs(stack, "by_day", "day")
            return sorted(day.xcom() for day in days if day.wait()["state"] == "success") if len(days) >= 2 else None

        assert until(told, 600, "a run for each day") == [str(FIRST), str(LAST)]
    found = sql(str(table), "select count(*) as n, count(distinct image_id) as ids from images")
    assert found == [{"n": uploads.files, "ids": uploads.files}]


def test_all_operators_on_ray_in_a_mapped_group(stack: Stack, shops: Run) -> None:
    shops.wait_end()
    found = patiently(lambda: stack.get(f"{shops.run_path}/taskInstances?limit=100"))["task_instances"]
    states = {(one["task_id"], one["map_index"]): one["state"] for one in found}
    after = [f"shop.{task}" for task in ("judge", "maintain", "forget", "migrate")]
    assert states == {
        ("shops", -1): "success",
        **{("shop.embed", index): "success" for index in range(2)},
        ("shop.gate", 0): "failed",
        ("shop.gate", 1): "success",
        **{(task, 0): "upstream_failed" for task in after},
        **{(task, 1): "success" for task in after},
    }
    (event,) = stack.get(f"/assets/events?source_dag_id=mapped_group&source_run_id={shops.run_id}")["asset_events"]
    table = event["extra"]["table"]
    assert (Path(table).name, event["extra"]["embedded"]) == ("europe.lance", 3)
    path = f"{shops.run_path}/taskInstances"
    judged, maintained, forgot, migrated = (
        stack.get(f"{path}/{task}/xcomEntries/return_value?map_index=1")["value"] for task in after
    )
    assert (judged["rejected"], maintained["tag"], forgot["forgotten"]) == (3, "published", 1)
    assert (migrated["embedded"], migrated["switched"]) == (2, True)
    assert len(rows(table)) == 2
    told_by_table = sql(table, "select verb, context from runs where verb != 'run'")
    assert {json.loads(row["context"])["map_index"] for row in told_by_table} == {"1"}

    jobs = [job for job in stack.jobs() if (job["metadata"] or {}).get("dag_run_id") == shops.run_id]
    assert [job["status"] for job in jobs].count("SUCCEEDED") == 7
    assert {job["runtime_env"]["env_vars"]["SHOP_TOKEN"] for job in jobs} == {SECRET}
    told = [job["metadata"] for job in jobs]
    for one in found:
        which = f"map_index={one['map_index']}"
        told += [one, stack.get(f"{path}/{one['task_id']}/xcomEntries?{which}")]
        if one["try_number"]:
            told += [stack.get(f"{path}/{one['task_id']}/logs/1?full_content=true&{which}")]
    assert SECRET not in json.dumps(told)
