"""What a task costs its worker from its start until it is deferred: a bare operator, and ours, which starts a Ray job.

Both in the same real Airflow with PostgreSQL, LocalExecutor and a Ray head, turn by turn. The time runs from the line
`Worker startup parse complete` of the task's log to `Pausing task as DEFERRED`: before and after, both do the same.
"""

import argparse
import statistics
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.machine import described
from clipflow_airflow.stack import Stack

_DAGS = """
from datetime import timedelta
from airflow.sdk import DAG, BaseOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from clipflow_airflow import ClipflowOperator
from clipflow_airflow.submission import Command


class Bare(BaseOperator):
    def execute(self, context):
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=1)), method_name="done")

    def done(self, context, event=None):
        return None


class Nothing(Command):
    def request(self, submission_id, key):
        return {**super().request(submission_id, key), "entrypoint": "true"}


class Ours(ClipflowOperator):
    def command(self, context):
        return Nothing(["--version"])

    def here(self, context):
        return {}


for name, operator in (("bare", Bare), ("ours", Ours)):
    with DAG(name, schedule=None, is_paused_upon_creation=False):
        operator(task_id="task")
"""
_FROM, _TO = "Worker startup parse complete", "Pausing task as DEFERRED"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.airflow_submit", description="Overhead of a task.")
    parser.add_argument("--rounds", type=int, default=10, help="runs of each (default 10)")
    call = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        Path(folder).chmod(0o711)
        dags = Path(folder) / "dags"
        dags.mkdir()
        (dags / "both.py").write_text(_DAGS)
        with Stack(Path(folder) / "home", dags) as stack:
            print(described(("apache-airflow", "ray", "aiohttp")), flush=True)
            seconds: dict[str, list[float]] = {"bare": [], "ours": []}
            for number in range(call.rounds + 1):
                for dag, took in seconds.items():
                    took.append(_run(stack, dag, f"run-{number}"))
    rows = [(dag, min(took[1:]), statistics.median(took[1:]), max(took[1:])) for dag, took in seconds.items()]
    over = (rows[1][1] - rows[0][1], rows[1][2] - rows[0][2])
    print(
        tabulate(
            [*rows, ("over", *over, None)],
            headers=("", "min s", "median s", "max s"),
            floatfmt=".2f",
            tablefmt="github",
        )
    )


def _run(stack: Stack, dag: str, run_id: str) -> float:
    stack.post(f"/dags/{dag}/dagRuns", {"dag_run_id": run_id, "logical_date": None, "conf": {}})
    path = f"/dags/{dag}/dagRuns/{run_id}/taskInstances/task"
    while stack.get(path)["state"] not in ("deferred", "success", "failed"):
        time.sleep(0.2)
    while True:
        lines: list[Any] = stack.get(f"{path}/logs/1?full_content=true")["content"]
        at = {
            str(line["event"]).strip(): line["timestamp"]
            for line in lines
            if isinstance(line, dict) and line.get("timestamp")
        }
        if _FROM in at and _TO in {word.rstrip(". ") for word in at}:
            paused = next(when for word, when in at.items() if word.startswith(_TO))
            return (datetime.fromisoformat(paused) - datetime.fromisoformat(at[_FROM])).total_seconds()
        time.sleep(0.2)


if __name__ == "__main__":
    main()
