"""RayJobTrigger: waits for a Ray job in the triggerer, so that no worker slot is held meanwhile."""

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from airflow.sdk.execution_time.xcom import XCom
from airflow.triggers.base import BaseTrigger, TriggerEvent

from clipflow.errors import ClipflowError, UsageError
from clipflow_airflow import handover
from clipflow_airflow.backlog import Backlog
from clipflow_airflow.follow import Outcome, follow
from clipflow_airflow.hook import RayJobsHook
from clipflow_airflow.jobs import Unreachable

LOG_KEY = "ray_log"
"""The XCom that holds how much of which job's log was told."""
_STOP_TRIES = 5
_SPREAD_SECONDS = 1.0
_backlog = Backlog()
# The event loop itself keeps no task alive.
_stopping: set[asyncio.Task[None]] = set()


class _Task(NamedTuple):
    """The task instance that is deferred, as XCom and the states of tasks want to hear it."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int


class RayJobTrigger(BaseTrigger):
    """Follow one Ray job; the event is its outcome.

    Nothing of the job is lost when the triggerer is: another one goes on where the log was left. The job is
    stopped when a user ends the task, and in no other case: not when a triggerer restarts or hands over.

    Args:
        conn_id: A connection of the type `ray`.
        submission_id: The job.
        ours: Whether the attempt that defers had started it.
    """

    def __init__(self, conn_id: str, submission_id: str, ours: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if not conn_id or not submission_id:
            raise UsageError("A RayJobTrigger needs a connection and the id of a job.")
        self.conn_id = conn_id
        self.submission_id = submission_id
        self.ours = ours

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Where the class is found, and what it is made from."""
        kwargs = {"conn_id": self.conn_id, "submission_id": self.submission_id, "ours": self.ours}
        return f"{type(self).__module__}.{type(self).__qualname__}", kwargs

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """One event: the outcome, also when the job can no longer be seen."""
        began = asyncio.get_running_loop().time()
        # A triggerer that starts takes over all jobs at once; at their own times they block neither it nor Ray's head.
        await asyncio.sleep(random.uniform(0, _SPREAD_SECONDS))
        try:
            hook = RayJobsHook(self.conn_id)
            async with await hook.aget_conn() as jobs:
                told = await self._told()
                outcome = await follow(jobs, self.submission_id, self.ours, self._tell, position=told, save=self._save)
        except ClipflowError as error:
            outcome = Outcome.failed(self.submission_id, self.ours, error, over=False)
        if self._task() is not None:
            await handover.over(began)
            await _backlog.drain(self._told)
        yield TriggerEvent(outcome.event())  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Stop the job: a user cleared the task, or marked it."""
        # Airflow 3.3 cancels a trigger again each second until it has ended, this method included: so the stop is a
        # task of its own, which goes on.
        stopping = asyncio.create_task(self._stop())
        _stopping.add(stopping)
        stopping.add_done_callback(_stopping.discard)
        await asyncio.shield(stopping)

    async def _stop(self) -> None:
        if await self._still_deferred():
            # Another triggerer took over; Airflow tells the two apart no better than this.
            self.log.info("The task is still deferred; its Ray job %s goes on.", self.submission_id)
            return
        for tried in range(_STOP_TRIES):
            try:
                async with await RayJobsHook(self.conn_id).aget_conn() as jobs:
                    await jobs.stop(self.submission_id)
            except Unreachable as error:
                self.log.warning("%s", error)
                await asyncio.sleep(2**tried)
            else:
                self.log.info("Stopped the Ray job %s.", self.submission_id)
                return

    def _tell(self, line: str) -> None:
        self.log.info("%s", line)
        _backlog.add(line)

    def _task(self) -> _Task | None:
        """The task instance; None in `dag.test()`, which names none."""
        ti = self.task_instance
        if ti is None:
            return None
        return _Task(ti.dag_id, ti.run_id, ti.task_id, -1 if ti.map_index is None else ti.map_index)

    async def _told(self) -> int:
        """How much of the log an earlier triggerer told."""
        task = self._task()
        value = await XCom.aget_value(ti_key=task, key=LOG_KEY) if task else None
        if isinstance(value, dict) and value.get("submission_id") == self.submission_id:
            return int(value["told"])
        return 0

    async def _save(self, position: int) -> None:
        if (task := self._task()) is not None:
            value = {"submission_id": self.submission_id, "told": position}
            await XCom.aset(LOG_KEY, value, **task._asdict())
            _backlog.answered()

    async def _still_deferred(self) -> bool:
        task = self._task()
        if task is None:
            return False
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        states = await asyncio.to_thread(
            RuntimeTaskInstance.get_task_states,
            dag_id=task.dag_id,
            run_ids=[task.run_id],
            task_ids=[task.task_id],
            map_index=task.map_index,
        )
        return "deferred" in states.get(task.run_id, {}).values()
