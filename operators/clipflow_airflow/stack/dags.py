"""How far Airflow has read the DAG files: the first look takes a moment, and a page without DAGs would puzzle."""

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from clipflow_airflow.stack.components import AirflowApi

_ENOUGH = 60.0
# A file may define no DAG at all, so nobody can wait for each.
_QUIET = 5.0


@dataclass(frozen=True)
class DagsRead:
    """The DAGs that were read, and one line for every file that does not import."""

    dag_ids: tuple[str, ...]
    broken: tuple[str, ...]


def await_dags(api: AirflowApi, folder: Path, since: datetime) -> DagsRead:
    """Wait until every DAG file was read, or nothing new has come for a while.

    Args:
        api: Airflow's REST.
        folder: The folder of DAG files.
        since: What was read before is history.
    """
    files = {str(path.relative_to(folder)) for path in folder.rglob("*.py") if _may_hold_dags(path)}
    began = news = time.monotonic()
    seen: set[str] = set()
    while True:
        dags = api.call("GET", "/dags?limit=100")["dags"]
        dags = [dag for dag in dags if _after(dag["last_parsed_time"], since)]
        errors = api.call("GET", "/importErrors?limit=100")["import_errors"]
        errors = [one for one in errors if _after(one["timestamp"], since)]
        found = {dag["relative_fileloc"] for dag in dags} | {one["filename"] for one in errors}
        now = time.monotonic()
        if found - seen:
            news = now
        seen |= found
        if files <= seen or (seen and now - news > _QUIET) or now - began > _ENOUGH:
            broken = (f"{one['filename']} does not import: {_last_line(one['stack_trace'])}" for one in errors)
            return DagsRead(tuple(dag["dag_id"] for dag in dags), tuple(broken))
        time.sleep(0.5)


def _may_hold_dags(path: Path) -> bool:
    """Airflow's own guess, by which it passes over other files."""
    text = path.read_bytes().lower()
    return b"dag" in text and b"airflow" in text


def _after(moment: str | None, since: datetime) -> bool:
    return moment is not None and datetime.fromisoformat(moment) >= since


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1] if text.strip() else ""
