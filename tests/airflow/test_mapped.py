"""Every operator mapped, and in a mapped task group, in the worker's own process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import clipflow
from clipflow_airflow.sandbox import Sandbox
from tests.airflow.test_in_process import events
from tests.airflow_sandbox import HOME, ROOT
from tests.catalogues import draw, job, rows

TASKS = ("embed", "gate", "judge", "maintain", "forget", "migrate")
# The gate stops the first, the second changes and passes, and the third is done already.
SHOPS = {"asia": range(4), "europe": range(10, 13), "old": range(20, 22)}


@pytest.fixture(scope="module")
def mapped(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox with the DAGs of the live tests."""
    folder = ROOT / "tests" / "live" / "dags"
    with pytest.MonkeyPatch.context() as patch:
        # Airflow has read it already.
        patch.setattr("airflow.settings.DAGS_FOLDER", str(folder))
        # The sandbox sets it anew, and it is put back afterwards.
        patch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(folder))
        yield Sandbox(HOME, folder)


def by_index(run_id: str, task_id: str) -> tuple[dict[int, str], dict[int, Any]]:
    """The states of a mapped task, and what it returned."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        mine = select(TaskInstance).where(TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
        states = {ti.map_index: str(ti.state) for ti in session.scalars(mine)}
        told: Any = session.scalars(XComModel.get_many(run_id=run_id, key="return_value", task_ids=task_id))
        return states, {row.map_index: XComModel.deserialize_value(row) for row in told}


@pytest.fixture
def form(tmp_path: Path) -> dict[str, str]:
    for name, pictures in SHOPS.items():
        draw(tmp_path / "images" / name, pictures)
    clipflow.run(job(tmp_path / "images" / "old", tmp_path / "lake" / "old.lance", name="old"), ray="none")
    return {"images": str(tmp_path / "images"), "lake": str(tmp_path / "lake")}


def test_in_a_mapped_group_each_gate_holds_back_its_own(mapped: Sandbox, form: dict[str, str]) -> None:
    before = len(events())
    outcome = mapped.run("mapped_group", None, form)
    found = {task: by_index(outcome.run_id, f"shop.{task}") for task in TASKS}
    assert found["embed"][0] == dict.fromkeys(range(3), "success")
    assert found["gate"][0] == {0: "failed", 1: "success", 2: "skipped"}
    for task in TASKS[2:]:
        assert found[task][0] == {0: "upstream_failed", 1: "success", 2: "skipped"}, task
    assert_done(form["lake"], {task: reports[1] for task, (_, reports) in found.items()})
    assert [(event["table"], event["embedded"]) for event in events()[before:]] == [(f"{form['lake']}/europe.lance", 3)]


def test_mapped_each_does_its_own(mapped: Sandbox, form: dict[str, str]) -> None:
    before = len(events())
    outcome = mapped.run("mapped_tasks", None, form)
    found = {task: by_index(outcome.run_id, task) for task in TASKS}
    assert found.pop("gate")[0] == {0: "failed", 1: "success", 2: "skipped"}
    for task, (states, _) in found.items():
        assert states == dict.fromkeys(range(3), "success"), task
    assert_done(form["lake"], {task: reports[1] for task, (_, reports) in found.items()})
    assert [found["judge"][1][index]["rejected"] for index in range(3)] == [4, 3, 2]
    assert outcome.tasks["whole"] == "success"
    told = [(event["table"], event["embedded"]) for event in events()[before:]]
    assert told == [(f"{form['lake']}/europe.lance", 3)] * 2, "by its gate, and by the one behind all"


def assert_done(lake: str, reports: dict[str, Any]) -> None:
    """All was done to the shop of three images."""
    table = f"{lake}/europe.lance"
    assert {reports[task]["table"] for task in reports if task != "migrate"} == {table}
    assert (reports["embed"]["embedded"], reports["judge"]["rejected"]) == (3, 3)
    assert (reports["maintain"]["tag"], reports["forget"]["forgotten"]) == ("published", 1)
    assert (reports["migrate"]["embedded"], reports["migrate"]["switched"]) == (2, True)
    assert len(rows(table)) == 2


def test_a_gate_behind_no_task_says_so(mapped: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    assert mapped.run("gate_of_nothing", None, {}).tasks == {"gate": "failed"}
    assert "AirflowFailException: The gate gate waits for embd, and the DAG" in capsys.readouterr().out
