"""One task instance, one Ray job: ids that a repeated start finds again, and the request itself."""

import hashlib
import json
import shlex
from collections.abc import Iterator
from typing import Any

from clipflow.interval import Interval
from clipflow.spec import JobSpec

JOB_VARIABLE = "CLIPFLOW_JOB"


def submission_ids(dag_id: str, run_id: str, task_id: str, map_index: int, generation: int) -> Iterator[str]:
    """The ids of a task instance's Ray jobs, in the order they are used up.

    Args:
        dag_id: The DAG.
        run_id: Its run.
        task_id: The task.
        map_index: Which of a mapped task, else -1.
        generation: max_tries - retries: the same over automatic retries, another after a clear.
    """
    key = json.dumps([dag_id, run_id, task_id, map_index], separators=(",", ":"))
    stem = f"clipflow-{hashlib.sha256(key.encode()).hexdigest()[:20]}-{generation}"
    yield stem
    n = 1
    while True:
        yield f"{stem}-{n}"
        n += 1


def request(submission_id: str, spec: JobSpec, interval: Interval | None) -> dict[str, Any]:
    """The body that starts a job. The job travels in the environment, where no shell reads it."""
    words = ["python", "-m", "clipflow", "run", f"env:{JOB_VARIABLE}", "--ray", "auto", "--json"]
    if interval is not None:
        words += ["--interval", interval.start.isoformat(), interval.end.isoformat()]
    return {
        "submission_id": submission_id,
        "entrypoint": shlex.join(words),
        "runtime_env": {"env_vars": {JOB_VARIABLE: json.dumps(spec.body(), separators=(",", ":"))}},
        "metadata": {"job": spec.name, "table": spec.table.uri}
        | {key: str(value) for key, value in spec.context.items() if value is not None},
    }
