"""A trigger fires no earlier than the worker that deferred has left."""

import asyncio

import pytest

from clipflow_airflow import handover


def waited(already: float) -> float:
    """How long a trigger waits that has been at work for so long."""

    async def go() -> float:
        loop = asyncio.get_running_loop()
        before = loop.time()
        await handover.over(before - already)
        return loop.time() - before

    return asyncio.run(go())


def test_a_job_that_ends_at_once_waits_for_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL", "30")
    assert handover.seconds() > 30
    assert waited(handover.seconds() - 0.2) >= 0.19


def test_a_job_that_took_longer_does_not_wait() -> None:
    assert waited(handover.seconds()) < 0.1
