"""A deferred task goes on no earlier than the worker that deferred it has left, and Airflow's scheduler knows.

A trigger that fires at once overtakes that worker: in Airflow 3.3 a task's supervisor may notice the end of its process
only when its next heartbeat is due. The scheduler then hears "this process has ended" of a task that is queued or
running again, takes it for killed from outside, and fails the attempt (apache/airflow#72716). That befell one in five
jobs of a second or two.
"""

import asyncio

from airflow.sdk.configuration import conf

_SCHEDULER_SECONDS = 5.0
"""For the executor to tell the scheduler, a long turn of the scheduler's loop included."""


def seconds() -> float:
    """How long after a deferral the worker has left for certain."""
    return float(conf.getfloat("workers", "min_heartbeat_interval", fallback=5.0)) + _SCHEDULER_SECONDS


async def over(since: float) -> None:
    """Return when the worker has left.

    Args:
        since: The loop's time when the trigger began, which is after the deferral.
    """
    await asyncio.sleep(max(0.0, since + seconds() - asyncio.get_running_loop().time()))
