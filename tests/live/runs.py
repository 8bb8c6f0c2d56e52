"""Runs of a real Airflow as a test sees them: triggered, watched, and set beside Ray's jobs."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from clipflow_airflow.stack import Stack
from clipflow_airflow.stack.errors import ApiError

T = TypeVar("T")


def until(found: Callable[[], T | None], seconds: float, what: str) -> T:
    """Ask until there is an answer."""
    deadline = time.monotonic() + seconds
    while (answer := found()) is None:
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.3)
    return answer


@dataclass(frozen=True)
class Run:
    """One run of a DAG of one task, which may be mapped."""

    stack: Stack
    dag_id: str
    run_id: str
    task_id: str = "nap"
    map_index: int = -1

    @classmethod
    def start(cls, stack: Stack, dag_id: str, run_id: str, task_id: str = "nap", **conf: Any) -> "Run":
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        patiently(lambda: stack.post(f"/dags/{dag_id}/dagRuns", body))
        return cls(stack, dag_id, run_id, task_id)

    @property
    def run_path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{quote(self.run_id)}"

    @property
    def path(self) -> str:
        path = f"{self.run_path}/taskInstances/{self.task_id}"
        return path if self.map_index < 0 else f"{path}/{self.map_index}"

    def instance(self) -> dict[str, Any]:
        found: dict[str, Any] = patiently(lambda: self.stack.get(self.path))
        return found

    def wait(self, *states: str, seconds: float = 400, once: bool = False) -> dict[str, Any]:
        """The task instance in one of the states; as it ends when none is named.

        Args:
            states: The states.
            seconds: The last net.
            once: Nothing happens that would need a second attempt: a failed one is told at once, with its log.
        """
        wanted = states or ("success", "failed")

        def look() -> dict[str, Any] | None:
            found = self.instance()
            assert not once or found["state"] != "up_for_retry", "\n".join(self.log())
            return found if found["state"] in wanted else None

        return until(look, seconds, f"{self.dag_id} {self.run_id} in {wanted}")

    def wait_end(self) -> None:
        """Wait until the run itself is over: it outlasts its last task until the scheduler looks.

        In between Airflow deletes no run, and may forget a clear: its scheduler ends the run with what it read before.
        """

        def look() -> bool | None:
            found = patiently(lambda: self.stack.get(self.run_path))
            return found["state"] in ("success", "failed") or None

        until(look, 400, f"{self.dag_id} {self.run_id} is over")

    def log(self, attempt: int = 1) -> list[str]:
        found = patiently(lambda: self.stack.get(f"{self.path}/logs/{attempt}?full_content=true"))
        return [_text(line) for line in found["content"]]

    def xcom(self, key: str = "return_value") -> Any:
        return patiently(lambda: self.stack.get(f"{self.path}/xcomEntries/{key}"))["value"]

    def clear(self) -> None:
        body = {"dry_run": False, "dag_run_id": self.run_id, "only_failed": False, "reset_dag_runs": True}
        patiently(
            lambda: self.stack.post(f"/dags/{self.dag_id}/clearTaskInstances", {**body, "task_ids": [self.task_id]})
        )

    def mark(self, state: str) -> None:
        patiently(lambda: self.stack.patch(self.path, {"new_state": state}))

    def jobs(self) -> dict[str, str]:
        """Ray's jobs of this task: their states by their ids without the stem, in the order of the ids."""
        task = {"dag_run_id": self.run_id, "task_id": self.task_id}
        mine = [job for job in self.stack.jobs() if task.items() <= (job["metadata"] or {}).items()]
        states = {job["submission_id"].split("-", 2)[2]: job["status"] for job in mine}
        return dict(sorted(states.items()))

    def wait_jobs(self, states: dict[str, str], seconds: float = 300) -> None:
        """Wait until Ray has exactly these."""
        until(lambda: True if self.jobs() == states else None, seconds, f"{states} instead of {self.jobs()}")


def patiently(ask: Callable[[], T]) -> T:
    """Airflow's API meets deadlocks in its database when everything happens at once, and says 500 then."""
    for _ in range(8):
        try:
            return ask()
        except ApiError as error:
            if error.status < 500:
                raise
            time.sleep(1)
    return ask()


def _text(line: Any) -> str:
    if not isinstance(line, dict):
        return str(line)
    errors = [f" {error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail") or ()]
    return "".join([str(line["event"]), *errors])
