"""What a gate waits for: the report of the task before it, in mapped tasks and mapped groups, too."""

from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context

from clipflow.errors import UsageError
from clipflow_airflow.report import Report, event, moved

_ONE = ("run_id", "table", "version", "tag")


def gated(context: Context, name: str, table: str) -> Report | None:
    """The event of the change that a gate holds back; None when there was no change.

    Tasks that stand in one mapped group belong together by their index. A gate behind a mapped task holds back all of
    its indexes, as far as they are about the gate's table.

    Args:
        context: Airflow's, of the gate.
        name: The id of the task before it, or its name within the gate's own task group.
        table: The gate's table.
    """
    ti: Any = context["ti"]
    gate, task = ti.task, _task(ti.task, name)
    group, its = gate.get_closest_mapped_task_group(), task.get_closest_mapped_task_group()
    together = group is not None and its is not None and group.group_id == its.group_id
    index = {"map_indexes": ti.map_index} if together else {}
    pulled = ti.xcom_pull(task_ids=task.task_id, **index)
    reports = [found for found in (pulled if isinstance(pulled, list) else [pulled]) if found is not None]
    if any(not isinstance(found, dict) or "table" not in found for found in reports):
        raise UsageError(
            f"The task {task.task_id} returns no report of clipflow.", "Let `gates` name the operator that writes."
        )
    if len(reports) > 1:
        reports = _about(reports, table, task.task_id)
    return _together([found for found in reports if moved(found)])


def _task(gate: Any, name: str) -> Any:
    known = gate.dag.task_dict
    found = known.get(name) or known.get(gate.task_group.child_id(name))
    if found is None:
        raise UsageError(
            f"The gate {gate.task_id} waits for {name}, and the DAG {gate.dag.dag_id} has no such task.",
            f"Tasks before the gate: {', '.join(sorted(gate.upstream_task_ids)) or 'none'}.",
        )
    return found


def _about(reports: Sequence[Report], table: str, task_id: str) -> list[Report]:
    tables = sorted({str(found["table"]) for found in reports})
    if table not in tables:
        raise UsageError(
            f"The gate audits {table}, and the {len(reports)} tasks {task_id} wrote to {', '.join(tables)}.",
            "Name one of these, or expand the gate over them.",
        )
    return [found for found in reports if found["table"] == table]


def _together(reports: Sequence[Report]) -> Report | None:
    """One event for changes of one table: its latest version, with the counts of all."""
    events = sorted((event(found) for found in reports), key=lambda found: found.get("version") or 0)
    if not events:
        return None
    counts = {key: sum(found.get(key) or 0 for found in events) for found in events for key in found if key not in _ONE}
    return {**events[-1], **counts}
