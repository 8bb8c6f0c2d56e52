"""EmbedImagesOperator: one job, on a Ray cluster or in the worker's own process."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from clipflow.errors import ClipflowError, ClusterError
from clipflow.interval import Interval
from clipflow.jobfile import read_job, read_text
from clipflow.spec import JobSpec
from clipflow_airflow.hook import RayJobsHook
from clipflow_airflow.jobs import RayJobs, Unreachable
from clipflow_airflow.report import Report, event, failure, find_report, moved, small
from clipflow_airflow.submission import request, submission_ids
from clipflow_airflow.window import interval_of

LOCAL = "local"
_PATIENCE = 12
_LINES = 1000


class EmbedImagesOperator(BaseOperator):
    """Embed the images of an interval into a table; the report is the task's result.

    The Ray job has a deterministic submission id: whoever dies and is started again finds it and
    waits for it instead of starting a second one. A job that was wrong never retries.

    Args:
        job: The job: a mapping, YAML text, the path of a job file on the worker, or `env:NAME`.
        conn_id: An Airflow connection of the type `ray`, or `local` for the worker's own process.
        window: Instead of the job's `source.window`: all, modified or path.
        interval: Start and end instead of the run's data interval; two empty strings are unbounded.
        sets: Changes to the job, each `a.b=YAML`.
        ray: With `local` only: none, local or an address; unset, the engine chooses by the number of images.
        progress: With `local` only: whether to draw a bar; unset, on a terminal only, and log lines elsewhere.
    """

    template_fields: Sequence[str] = ("job", "conn_id", "window", "interval", "sets")
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "yaml"}
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        job: Mapping[str, Any] | str,
        conn_id: str = RayJobsHook.default_conn_name,
        window: str | None = None,
        interval: tuple[str, str] | None = None,
        sets: Sequence[str] = (),
        ray: str | None = None,
        progress: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job = job
        self.conn_id = conn_id
        self.window = window
        self.interval = interval
        self.sets = sets
        self.ray = ray
        self.progress = progress

    def execute(self, context: Context) -> Report:
        """Run the job, or wait for the one that an earlier try started."""
        try:
            spec = self._spec(context)
            interval = interval_of(context, spec.source.window, self.interval)
            report = self._here(spec, interval) if self.conn_id == LOCAL else self._there(context, spec, interval)
        except ClipflowError as error:
            # The sentence is what a reader of the task log needs; where it was raised is not.
            self.log.debug("The job failed", exc_info=error)
            raise (AirflowException if error.retryable else AirflowFailException)(str(error)) from None
        self._announce(context, report)
        return small(report)

    def _spec(self, context: Context) -> JobSpec:
        sets = [*self.sets, *([f"source.window={self.window}"] if self.window else [])]
        if isinstance(self.job, Mapping):
            spec = read_text(json.dumps(self.job), f"the job of task {self.task_id}", sets)
        elif "\n" in self.job or self.job.lstrip().startswith("{"):
            spec = read_text(self.job, f"the job of task {self.task_id}", sets)
        else:
            spec = read_job(self.job, sets)
        ti = context["ti"]
        traced = {
            "dag_id": ti.dag_id,
            "dag_run_id": ti.run_id,
            "task_id": ti.task_id,
            "map_index": _map_index(ti.map_index),
            "try_number": ti.try_number,
        }
        return spec.model_copy(update={"context": {**spec.context, **traced}})

    def _here(self, spec: JobSpec, interval: Interval | None) -> Report:
        import clipflow

        return clipflow.run(spec, interval=interval, ray=self.ray, progress=self.progress).document()

    def _there(self, context: Context, spec: JobSpec, interval: Interval | None) -> Report:
        jobs = RayJobsHook(self.conn_id).get_conn()
        return asyncio.run(self._follow(jobs, context, spec, interval))

    async def _follow(self, client: RayJobs, context: Context, spec: JobSpec, interval: Interval | None) -> Report:
        ti = context["ti"]
        generation = ti.max_tries - (self.retries or 0)
        ids = submission_ids(ti.dag_id, ti.run_id, ti.task_id, _map_index(ti.map_index), generation)
        async with client as jobs:
            for submission_id in ids:
                known = await jobs.info(submission_id) is not None
                ours = not known and await jobs.submit(request(submission_id, spec, interval))
                self.log.info("%s the Ray job %s", "Started" if ours else "Attached to", submission_id)
                state = await self._wait(jobs, submission_id)
                log = await jobs.logs(submission_id)
                report = find_report(log)
                self._show(submission_id, log)
                if state == "SUCCEEDED" and report is not None:
                    return report
                if ours:
                    raise failure(submission_id, state, log)
                self.log.info("It ended as %s in an earlier try; starting the next", state)
        raise AssertionError("the ids never end")

    async def _wait(self, jobs: RayJobs, submission_id: str) -> str:
        """Ask until the job is over. A head that does not answer for a moment is no failed job."""
        silent = 0
        while True:
            try:
                info = await jobs.info(submission_id)
                silent = 0
            except Unreachable:
                silent += 1
                if silent > _PATIENCE:
                    raise
            else:
                if info is None:
                    raise ClusterError(
                        f"Ray no longer knows the job {submission_id}: its head was restarted.",
                        "A retry starts the job again; what was committed is not done twice.",
                    )
                if info["status"] not in ("PENDING", "RUNNING"):
                    return str(info["status"])
            await asyncio.sleep(jobs.address.poll_seconds)

    def _show(self, submission_id: str, log: str) -> None:
        self.log.info("::group::Log of the Ray job %s", submission_id)
        for line in log.splitlines()[-_LINES:]:
            self.log.info("%s", line)
        self.log.info("::endgroup::")

    def _announce(self, context: Context, report: Report) -> None:
        """Let the asset event carry what changed, and let nobody start on a table that did not."""
        if not moved(report):
            # Airflow sends an event for every outlet of a task that succeeds; this is the task's own copy.
            self.outlets = []
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(event(report))


def _map_index(value: int | None) -> int:
    return -1 if value is None else value
