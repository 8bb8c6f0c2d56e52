"""The DAG files: they parse, serialise, stay thin, and their forms explain themselves."""

import ast
import sys
from pathlib import Path

import pytest
from airflow.sdk import DAG, CronDataIntervalTimetable
from airflow.serialization.serialized_objects import DagSerialization

from clipflow_airflow import ClipflowOperator
from clipflow_airflow.sandbox import Sandbox

FILES = sorted((Path(__file__).parents[2] / "dags").glob("*.py"))
IDS = [path.stem for path in FILES]


@pytest.fixture(params=IDS)
def dag(request: pytest.FixtureRequest, sandbox: Sandbox) -> DAG:
    return sandbox.dag(request.param)


# The example for Kubernetes lives by Airflow's own provider of it.
PACKAGES = {"airflow.sdk", "clipflow_airflow", "airflow.providers.cncf.kubernetes.operators.resource"}


def test_all_are_there(sandbox: Sandbox) -> None:
    assert IDS == [
        "clip_embed_daily",
        "clip_embed_kuberay",
        "clip_embed_on_demand",
        "clip_embed_partitions",
        "clip_embed_uploads",
        "clip_maintain_table",
        "clip_migrate_encoder",
        "clip_reconcile",
    ]


def test_serialises(dag: DAG) -> None:
    again = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    assert again.task_dict.keys() == dag.task_dict.keys()


def test_explains_itself(dag: DAG) -> None:
    assert dag.doc_md
    assert dag.description
    assert dag.tags
    assert all(task.owner == "clipflow" for task in dag.tasks)
    # A mapped task is not of its operator's class.
    ours = [task for task in dag.tasks if issubclass(getattr(task, "operator_class", type(task)), ClipflowOperator)]
    assert ours
    assert all(task.pool for task in ours)
    assert all(task.outlets for task in ours if not task.downstream_task_ids)
    assert dag.max_active_runs <= 8
    for name in dag.params:
        field = dag.params.get_param(name)
        assert field.description, name
        assert field.schema.get("title"), name
        assert "type" in field.schema or "enum" in field.schema, name


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_is_thin(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module))
    assert {name for name in imported if name not in sys.stdlib_module_names} <= PACKAGES


def test_daily_has_intervals(sandbox: Sandbox) -> None:
    dag = sandbox.dag("clip_embed_daily")
    assert isinstance(dag.timetable, CronDataIntervalTimetable)
    # From now on; a first day in the environment is what makes it catch up.
    assert not dag.catchup
