"""ClipflowOperator: what all operators of this package have in common. Each of them says which command it is.

execute ─▶ claim (find the Ray job, or start it) ─▶ defer ─▶ RayJobTrigger ─▶ complete
             ▲                                                                   │
             └──────────────── the job of an earlier attempt failed ─────────────┘
"""

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from airflow.sdk import Asset, BaseOperator, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferralError, TaskDeferralTimeout
from airflow.sdk.log import mask_secret

from clipflow.errors import ClipflowError
from clipflow_airflow import driver
from clipflow_airflow.claim import Claim, claim, ids_after, stop_all, supersede
from clipflow_airflow.follow import Outcome, follow
from clipflow_airflow.hook import RayJobsHook
from clipflow_airflow.jobs import RayJobs
from clipflow_airflow.links import RayJobLink, RunPageLink, ray_job_url, run_page_url
from clipflow_airflow.report import Report, error_of, event, moved, small
from clipflow_airflow.submission import Command, TaskKey
from clipflow_airflow.trigger import RayJobTrigger

LOCAL = "local"
_KILL_SECONDS = 10.0
_ENDED = ("failed", "success", "skipped", "removed", "restarting")

T = TypeVar("T")


class ClipflowOperator(BaseOperator):
    """One command of the engine, on a Ray cluster or in the worker's own process; its report is the task's result.

    On a cluster the command is one Ray job with a deterministic submission id: whoever dies and is started again
    finds it, and waits for it instead of starting a second one. The task waits deferred, and holds no worker slot.
    When a user ends the task, when its `execution_timeout` is over, or when it fails for good, the job is stopped.
    A call that was wrong is not tried again.

    Args:
        conn_id: An Airflow connection of the type `ray`, or `local` for the worker's own process.
        deferrable: Whether to wait in the triggerer; else the worker waits.
        cluster_timeout: How long the worker waits for a cluster that does not answer yet.
        runtime_env: Ray's, for the job and all that it starts; may hold templates, and secrets in `env_vars`.
        entrypoint_num_cpus: What the driver takes for itself. With this or one of the next three Ray places the driver
            on any node that has so much, and without on the head.
        entrypoint_num_gpus: As entrypoint_num_cpus.
        entrypoint_memory: In bytes.
        entrypoint_resources: Amounts by the names of the cluster's own resources.
    """

    template_fields: Sequence[str] = ("conn_id",)
    operator_extra_links = (RayJobLink(), RunPageLink())
    ui_color = "#e8f0fe"

    def __init__(
        self,
        *,
        conn_id: str = RayJobsHook.default_conn_name,
        deferrable: bool = True,
        cluster_timeout: timedelta = timedelta(0),
        runtime_env: Mapping[str, Any] | str | None = None,
        entrypoint_num_cpus: float | str | None = None,
        entrypoint_num_gpus: float | str | None = None,
        entrypoint_memory: int | str | None = None,
        entrypoint_resources: Mapping[str, float | str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.conn_id = conn_id
        self.deferrable = deferrable
        self.cluster_timeout = cluster_timeout
        # No template fields: Airflow stores and shows what it renders of those.
        self.runtime_env = runtime_env.value if isinstance(runtime_env, driver.Hidden) else runtime_env
        self.entrypoint_num_cpus = entrypoint_num_cpus
        self.entrypoint_num_gpus = entrypoint_num_gpus
        self.entrypoint_memory = entrypoint_memory
        self.entrypoint_resources = entrypoint_resources
        driver.check(self._driver())
        if stop_ray_job not in self.on_failure_callback:
            self.on_failure_callback = [*self.on_failure_callback, stop_ray_job]
        self._submission_id: str | None = None
        self._killed = False

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """As Airflow's: of a mapped task it stores what it is given here, and knows no callback but these."""
        if "runtime_env" in kwargs:
            kwargs["runtime_env"] = driver.Hidden(kwargs["runtime_env"])
        found = super().partial(**kwargs)
        found.kwargs["on_failure_callback"] = [*found.kwargs["on_failure_callback"], stop_ray_job]
        return found

    @abstractmethod
    def command(self, context: Context) -> Command:
        """The command, as a cluster should run it."""

    @abstractmethod
    def here(self, context: Context) -> Report:
        """Run the command in this process."""

    def execute(self, context: Context) -> Report:
        """Run the command, or wait for what an earlier attempt started."""
        key = TaskKey.of(context)
        page = run_page_url(key.dag_id, key.run_id, key.task_id, key.map_index)
        context["ti"].xcom_push(RunPageLink.xcom_key, page)
        with self._one_sentence():
            if self.conn_id == LOCAL:
                return self._finish(context, self.here(context))
            return self._there(context)

    def complete(self, context: Context, event: Mapping[str, Any]) -> Report:
        """Go on after the trigger."""
        with self._one_sentence():
            return self._conclude(context, Outcome(**event))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """As Airflow's; a job that took too long is stopped."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout:
            stop_ray_job(context)
            raise AirflowException(
                f"The Ray job took longer than the task's execution_timeout ({self.execution_timeout}), "
                "and is stopped. What it committed stays; raise the timeout."
            ) from None
        except TaskDeferralError as error:
            raise AirflowException(f"The triggerer could not wait for the Ray job ({error}). See its log.") from None

    def on_kill(self) -> None:
        """Stop the job: a user ended the task while the worker was busy with it."""
        self._killed = True
        if self._submission_id is not None:
            stop = _opened(RayJobsHook(self.conn_id).get_conn(), self._stop_this)
            # The loop of this thread stands still while a signal is handled.
            asker = threading.Thread(target=asyncio.run, args=(stop,), daemon=True)
            asker.start()
            asker.join(_KILL_SECONDS)

    async def _stop_this(self, jobs: RayJobs) -> None:
        assert self._submission_id is not None
        await jobs.stop(self._submission_id)

    def _there(self, context: Context, after: str | None = None) -> Report:
        """Claim the job, and wait for it.

        Args:
            context: Airflow's.
            after: A job of an earlier attempt that has failed since.
        """
        given = driver.request(self.render_template(self._driver(), context))
        # Where a name says that it is a secret, the log does not show it either, should anybody say it.
        mask_secret(given.get("runtime_env", {}).get("env_vars", {}))
        command = replace(self.command(context), driver=given)
        jobs = RayJobsHook(self.conn_id).get_conn()
        found = asyncio.run(_opened(jobs, lambda jobs: self._claim(jobs, context, command, after)))
        self.log.info("%s the Ray job %s", "Started" if found.ours else "Attached to", found.submission_id)
        context["ti"].xcom_push(RayJobLink.xcom_key, ray_job_url(jobs.address.url, found.submission_id))
        if self.deferrable and found.status != "SUCCEEDED":
            trigger = RayJobTrigger(self.conn_id, found.submission_id, found.ours)
            self.defer(trigger=trigger, method_name="complete", timeout=self.execution_timeout)
        wait = _opened(jobs, lambda jobs: follow(jobs, found.submission_id, found.ours, self._tell))
        return self._conclude(context, asyncio.run(wait))

    def _driver(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("runtime_env", *driver.RESOURCES)}

    async def _claim(self, jobs: RayJobs, context: Context, command: Command, after: str | None) -> Claim:
        key = TaskKey.of(context)
        if self.cluster_timeout:
            await jobs.answer(self.cluster_timeout.total_seconds())
        await supersede(jobs, key)
        found = await claim(jobs, key, self._known(ids_after(key, after)), command)
        if self._killed or _state(context) in _ENDED:
            # Whoever ended the task while its job was being started found nothing to stop.
            await jobs.stop(found.submission_id)
            raise AirflowFailException("The task was ended while its Ray job was being started; the job is stopped.")
        return found

    def _known(self, ids: Iterator[str]) -> Iterator[str]:
        """The ids, each known to `on_kill` before anything is started under it."""
        for submission_id in ids:
            self._submission_id = submission_id
            yield submission_id

    def _tell(self, line: str) -> None:
        self.log.info("%s", line)

    def _conclude(self, context: Context, outcome: Outcome) -> Report:
        if outcome.report is not None:
            return self._finish(context, outcome.report)
        assert outcome.error is not None
        error = error_of(outcome.error)
        if outcome.ours or not outcome.over or self._killed:
            raise error
        self.log.info("The Ray job of an earlier attempt failed: %s", error)
        return self._there(context, after=outcome.submission_id)

    def _finish(self, context: Context, report: Report) -> Report:
        """Let the asset event carry what changed, and let nobody start on a table that did not."""
        told = self.told(context, report)
        if told is None:
            # Airflow sends an event for every outlet of a task that succeeds; this is the task's own copy.
            self.outlets = []
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra.update(told or {})
        return small(report)

    def told(self, context: Context, report: Report) -> Report | None:
        """What the asset event says; None when the table did not change, and there is no event."""
        return event(report) if moved(report) else None

    @contextmanager
    def _one_sentence(self) -> Iterator[None]:
        """What a reader of the task log needs is the sentence; where it was raised is not."""
        try:
            yield
        except ClipflowError as error:
            self.log.debug("The command failed", exc_info=error)
            raise (AirflowException if error.retryable else AirflowFailException)(str(error)) from None


def stop_ray_job(context: Context) -> None:
    """End what the task has running on its cluster; a callback for a task that failed for good.

    Airflow calls it where the task failed, or in its DAG processor when the worker was lost.
    """
    task: Any = context["ti"].task
    # In the DAG processor nothing is rendered yet, and a mapped task is not of its operator's class.
    if isinstance(task, ClipflowOperator):
        given = task.conn_id
    else:
        given = (task.dag.default_args | task.partial_kwargs).get("conn_id", RayJobsHook.default_conn_name)
    conn_id = task.render_template(given, context)
    if conn_id == LOCAL:
        return
    key = TaskKey.of(context)
    try:
        jobs = RayJobsHook(conn_id).get_conn()
        for submission_id in asyncio.run(_opened(jobs, lambda jobs: stop_all(jobs, key))):
            task.log.info("Stopped the Ray job %s", submission_id)
    except ClipflowError as error:
        task.log.warning("A Ray job of this task may go on: %s", error)


async def _opened(client: RayJobs, act: Callable[[RayJobs], Awaitable[T]]) -> T:
    async with client as jobs:
        return await act(jobs)


def _state(context: Context) -> str | None:
    """What Airflow now takes the task's state to be."""
    ti = context["ti"]
    key = TaskKey.of(context)
    states = ti.get_task_states(
        dag_id=key.dag_id, run_ids=[key.run_id], task_ids=[key.task_id], map_index=key.map_index
    )
    return next(iter(states.get(key.run_id, {}).values()), None)
