"""What Airflow's database holds about one task instance. Read, never written."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from airflow.models.taskinstance import TaskInstance
from airflow.models.xcom import XCOM_RETURN_KEY, XComModel
from sqlalchemy import select
from sqlalchemy.orm import Session

import clipflow_airflow
from clipflow_airflow.links import RAY_JOB, RUN_PAGE

OPERATORS = frozenset(name for name in clipflow_airflow.__all__ if name.endswith("Operator"))


@dataclass(frozen=True)
class Task:
    """One task instance.

    Attributes:
        state: Airflow's word; None before it was scheduled.
        resumes: Whether it has begun, and goes on after its trigger.
        ours: Whether the task is one of clipflow's.
        report: What the task returned, if that is an object.
        ray_job: The job's page on Ray's dashboard, if it is an http address.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    state: str | None
    resumes: bool
    try_number: int
    started: datetime | None
    ended: datetime | None
    ours: bool
    report: dict[str, Any] | None
    ray_job: str | None


def find_task(session: Session, dag_id: str, run_id: str, task_id: str, map_index: int) -> Task | None:
    """The task instance with that key, or None."""
    key: dict[str, Any] = {"dag_id": dag_id, "run_id": run_id, "task_id": task_id, "map_index": map_index}
    found = session.scalar(select(TaskInstance).filter_by(**key))
    if found is None:
        return None
    query = select(XComModel.key, XComModel.value).filter_by(**key)
    query = query.where(XComModel.key.in_((XCOM_RETURN_KEY, RAY_JOB, RUN_PAGE)))
    values = {name: _plain(value) for name, value in session.execute(query)}
    report = values.get(XCOM_RETURN_KEY)
    return Task(
        **key,
        state=str(found.state) if found.state else None,
        resumes=found.next_method is not None,
        try_number=found.try_number,
        started=found.start_date,
        ended=found.end_date,
        # A user's own subclass is known by the page that its base announced.
        ours=found.operator in OPERATORS or RUN_PAGE in values,
        report=report if isinstance(report, dict) else None,
        ray_job=_http(values.get(RAY_JOB)),
    )


def _plain(value: Any) -> Any:
    """A stored value as plain data; Airflow's own decoder would build whatever class the value names."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _http(value: Any) -> str | None:
    """Whoever may write an XCom must not choose what a click runs."""
    if not isinstance(value, str):
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme in ("http", "https") and parts.netloc and "@" not in parts.netloc else None
