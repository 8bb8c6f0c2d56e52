"""Finding the Ray job of a task instance, or starting it: at most one is alive, whoever asks how often."""

import asyncio
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from clipflow_airflow.jobs import ALIVE, RayJobs
from clipflow_airflow.submission import Command, TaskKey

_CLEARS = 20
_STOP_SECONDS = 15.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Claim:
    """The Ray job that a task waits for.

    Args:
        submission_id: Ray's name of it.
        ours: This very attempt started it, so its failure is the attempt's.
        status: PENDING, RUNNING or SUCCEEDED.
    """

    submission_id: str
    ours: bool
    status: str


async def claim(jobs: RayJobs, key: TaskKey, ids: Iterable[str], command: Command) -> Claim:
    """Attach to the first job that is alive or succeeded, or start the first that nobody started.

    Args:
        jobs: An open session.
        key: The task.
        ids: Its submission ids, or the later ones of them.
        command: What to start.

    Starting is at most once: of two starters under one id, Ray lets one win, and the other attaches.
    """
    for submission_id in ids:
        info = await jobs.info(submission_id)
        if info is None:
            if await jobs.submit(command.request(submission_id, key)):
                return Claim(submission_id, ours=True, status="PENDING")
            info = await jobs.info(submission_id) or {"status": "PENDING"}
        if not key.owns(info):
            log.info("The Ray job %s belongs to a run of the same name that was deleted.", submission_id)
            if info["status"] in ALIVE:
                await jobs.stop(submission_id)
            continue
        if info["status"] in (*ALIVE, "SUCCEEDED"):
            return Claim(submission_id, ours=False, status=info["status"])
        log.info("The Ray job %s ended as %s in an earlier attempt.", submission_id, info["status"])
    raise AssertionError("the ids never end")


def ids_after(key: TaskKey, submission_id: str | None) -> Iterator[str]:
    """The ids of a task instance behind one of them; all without one."""
    ids = key.submission_ids()
    if submission_id is not None:
        for found in ids:
            if found == submission_id:
                break
    return ids


async def alive(jobs: RayJobs, key: TaskKey) -> list[str]:
    """The jobs of a task instance that have not ended."""
    found: list[str] = []
    for submission_id in key.submission_ids():
        info = await jobs.info(submission_id)
        if info is None:
            return found
        if info["status"] in ALIVE:
            found.append(submission_id)
    raise AssertionError("the ids never end")


async def stop_all(jobs: RayJobs, key: TaskKey) -> list[str]:
    """End what a task instance has running; the ids of it."""
    found = await alive(jobs, key)
    for submission_id in found:
        await jobs.stop(submission_id)
    return found


async def supersede(jobs: RayJobs, key: TaskKey) -> None:
    """End what ran before the task was cleared, should nobody have been there to do it then."""
    for earlier in islice(key.earlier(), _CLEARS):
        for submission_id in await stop_all(jobs, earlier):
            log.info("Stopped the Ray job %s: its task was cleared.", submission_id)
            await _until_over(jobs, submission_id)


async def _until_over(jobs: RayJobs, submission_id: str) -> None:
    """Two jobs at once would do no harm to the table, and to the cluster's bill."""
    deadline = asyncio.get_running_loop().time() + _STOP_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        info = await jobs.info(submission_id)
        if info is None or info["status"] not in ALIVE:
            return
        await asyncio.sleep(0.5)
