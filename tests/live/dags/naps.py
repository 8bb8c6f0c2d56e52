"""A DAG whose Ray job only naps, and whose task halts where it is told to: for what happens around a job."""

import json
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, Context, Param

from clipflow_airflow import ClipflowOperator
from clipflow_airflow.claim import Claim
from clipflow_airflow.submission import Command, TaskKey

HALTS = Path(os.environ.get("CLIPFLOW_TEST_HALTS", "/nowhere"))

NAP = Path(__file__).with_name("nap.txt")


@dataclass(frozen=True)
class Nap(Command):
    def request(self, submission_id: str, key: TaskKey) -> dict[str, Any]:
        entrypoint = shlex.join(["python", str(NAP), *self.words])
        return {**super().request(submission_id, key), "entrypoint": entrypoint}


class NapOperator(ClipflowOperator):
    """Halts, in its first try only, at the moment that the run's form names.

    How long it naps and how it ends may differ from try to try; the last that is named goes for all that follow.
    """

    template_fields = ("conn_id", "seconds", "end", "halt")

    def __init__(self, *, seconds: str, end: str, halt: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seconds, self.end, self.halt = seconds, end, halt

    def command(self, context: Context) -> Command:
        self._halt("chosen", context)
        ti, seconds, ends = context["ti"], self.seconds.split(), json.loads(self.end)
        which = ti.try_number - 1
        words = [each[min(which, len(each) - 1)] for each in (seconds, ends)]
        return Nap([*words, str(HALTS / f"{ti.run_id}.wake")])

    def here(self, context: Context) -> dict[str, Any]:
        raise AssertionError("a nap is taken on a cluster")

    async def _claim(self, jobs: Any, context: Context, command: Command, after: str | None) -> Claim:
        found = await super()._claim(jobs, context, command, after)
        self._halt("submitted", context)
        return found

    def defer(self, **given: Any) -> Any:
        self._halt("deferring", None)
        super().defer(**given)

    def complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        self._halt("completing", context)
        return super().complete(context, event)

    def _halt(self, moment: str, context: Context | None) -> None:
        context = context or self._context
        self._context: Context = context
        ti = context["ti"]
        if self.halt != moment or ti.try_number > 1:
            return
        (HALTS / f"{ti.run_id}.part").write_text(str(os.getpid()))
        (HALTS / f"{ti.run_id}.part").rename(HALTS / ti.run_id)
        time.sleep(3000)


def nap_dag(dag_id: str, *, mapped: bool = False, **given: Any) -> None:
    with DAG(
        dag_id=dag_id,
        schedule=None,
        max_active_runs=32,
        is_paused_upon_creation=False,
        # Every task that starts while no api-server answers uses up a retry.
        default_args={"owner": "test", "retries": 5, "retry_delay": timedelta(seconds=2)},
        params={
            "seconds": Param("3", type="string"),
            "end": Param(["fine"], type="array"),
            "halt": Param("", type="string"),
            "conn_id": Param("ray_default", type="string"),
        },
    ):
        more: dict[str, Any] = {
            "task_id": "nap",
            "conn_id": "{{ params.conn_id }}",
            "seconds": "{{ params.seconds }}",
            "halt": "{{ params.halt }}",
            "outlets": [Asset("naps")],
            "runtime_env": {"env_vars": {"NAP_OF": "{{ run_id }}"}},
            **given,
        }
        end = "{{ params.end | tojson }}"
        if mapped:
            NapOperator.partial(**more).expand(end=[end])
        else:
            NapOperator(end=end, **more)


nap_dag("nap")
nap_dag("nap_in_worker", deferrable=False)
# Long enough for a busy machine to start the job, which is what the time-out is to stop.
nap_dag("nap_briefly", execution_timeout=timedelta(seconds=20), retries=0)
nap_dag("nap_once", retries=0)
nap_dag("nap_mapped", mapped=True, retries=0)
