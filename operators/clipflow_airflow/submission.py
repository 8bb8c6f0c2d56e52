"""One task instance, one Ray job: ids that a repeated start finds again, and the request that starts one."""

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from airflow.sdk import Context

from clipflow_airflow.driver import environment


@dataclass(frozen=True)
class TaskKey:
    """What tells one task instance from all others, and its repeats from each other.

    Args:
        dag_id: The DAG.
        run_id: Its run.
        task_id: The task.
        map_index: Which of a mapped task, else -1.
        generation: max_tries - retries: the same over automatic retries, another after a clear.
        started_at: When the run began. A run that is deleted and made again has the same ids otherwise.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    generation: int
    started_at: str | None = None

    @classmethod
    def of(cls, context: Context) -> Self:
        """The key of the task that is running."""
        ti = context["ti"]
        map_index = -1 if ti.map_index is None else ti.map_index
        generation = ti.max_tries - (ti.task.retries or 0)
        began = context["dag_run"].start_date
        return cls(ti.dag_id, ti.run_id, ti.task_id, map_index, generation, began.isoformat() if began else None)

    def submission_ids(self) -> Iterator[str]:
        """The ids of the task instance's Ray jobs, in the order they are used up."""
        key = json.dumps([self.dag_id, self.run_id, self.task_id, self.map_index], separators=(",", ":"))
        stem = f"clipflow-{hashlib.sha256(key.encode()).hexdigest()[:20]}-{self.generation}"
        yield stem
        n = 1
        while True:
            yield f"{stem}-{n}"
            n += 1

    def metadata(self) -> dict[str, str]:
        """What Ray's dashboard says about the job's origin."""
        known = {
            "dag_id": self.dag_id,
            "dag_run_id": self.run_id,
            "dag_run_started_at": self.started_at,
            "task_id": self.task_id,
            "map_index": self.map_index,
        }
        return {name: str(value) for name, value in known.items() if value is not None}

    def owns(self, info: Mapping[str, Any]) -> bool:
        """Whether a job, as Ray knows it, was started for this run, and not for one that was deleted."""
        began = (info.get("metadata") or {}).get("dag_run_started_at")
        return None in (began, self.started_at) or began == self.started_at

    def earlier(self) -> Iterator[Self]:
        """The same task instance before its last clears, the latest first."""
        for generation in range(self.generation - 1, -1, -1):
            yield replace(self, generation=generation)


@dataclass(frozen=True)
class Command:
    """One call of the engine.

    Args:
        words: What stands after `clipflow`; everybody who sees the cluster may read it.
        variables: Environment variables of the driver: texts that no shell should read.
        metadata: What Ray's dashboard says about it, beside the task that it serves.
        driver: Where its driver runs, and in which environment: see `clipflow_airflow.driver`.
    """

    words: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    driver: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def request(self, submission_id: str, key: TaskKey) -> dict[str, Any]:
        """The body that starts the job of a task by Ray's Jobs REST."""
        return {
            **self.driver,
            "submission_id": submission_id,
            "entrypoint": shlex.join(["python", "-m", "clipflow", *self.words]),
            "runtime_env": environment(self.variables, self.driver.get("runtime_env", {})),
            "metadata": {**self.metadata, **key.metadata()},
        }
