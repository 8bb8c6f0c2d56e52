"""One loop, many triggers: how late a loop is that waits for 200 Ray jobs at once.

The jobs' server is a process of its own that speaks Ray's Jobs REST; the triggers are the real ones, in one
asyncio loop as in Airflow's triggerer. Beside them a coroutine sleeps 10 ms again and again; how much longer
its sleeps take is the lag.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tabulate import tabulate

from benchmarks.machine import described
from clipflow_airflow.stack.ports import free_port

_TICK = 0.01
_COLUMNS = ("triggers", "loop", "lag p50 ms", "lag p99 ms", "lag max ms", "CPU share", "events")


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.triggers", description="Lag of a loop of triggers.")
    parser.add_argument("--triggers", type=int, default=200, help="jobs at once (default 200)")
    parser.add_argument("--seconds", type=float, default=30, help="how long each job lives (default 30)")
    parser.add_argument("--poll", type=float, default=5, help="poll_seconds of the connection (default 5)")
    call = parser.parse_args()
    print(described(("apache-airflow", "aiohttp")), flush=True)
    port = free_port()
    connection = {"conn_type": "ray", "host": f"http://127.0.0.1:{port}", "extra": {"poll_seconds": call.poll}}
    os.environ["AIRFLOW_CONN_RAY_BENCH"] = json.dumps(connection)
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.jobs_server", str(port), str(call.seconds)])
    try:
        time.sleep(3)
        with _quiet():
            # What a first trigger imports is not what a busy loop does.
            asyncio.run(_measured(1, call.seconds))
            rows = [asyncio.run(_measured(count, call.seconds)) for count in (0, call.triggers)]
    finally:
        server.terminate()
        server.wait()
    print(tabulate(rows, headers=_COLUMNS, floatfmt=".1f", tablefmt="github"))


async def _measured(count: int, seconds: float) -> tuple[object, ...]:
    from clipflow_airflow.trigger import RayJobTrigger

    lags: list[float] = []
    beside = asyncio.create_task(_tick(lags))
    began, spent = time.monotonic(), time.process_time()
    # Ids that no measurement before has used up.
    triggers = [RayJobTrigger("ray_bench", f"job-{count}-{number}", ours=True) for number in range(count)]
    events = await asyncio.gather(*(_event(trigger) for trigger in triggers))
    if not count:
        await asyncio.sleep(seconds / 3)
    wall = time.monotonic() - began
    beside.cancel()
    good = sum(event["report"] is not None for event in events)
    if good != count:
        raise RuntimeError(f"{count - good} of {count} events are errors: {events[0]}")
    ranked = sorted(lag * 1000 for lag in lags)
    share = (time.process_time() - spent) / wall
    name = "idle" if not count else "polling"
    p50, p99 = statistics.median(ranked), ranked[int(len(ranked) * 0.99)]
    return count, name, p50, p99, ranked[-1], f"{share:.0%}", good


async def _event(trigger: object) -> dict[str, object]:
    async for event in trigger.run():  # type: ignore[attr-defined]
        payload: dict[str, object] = event.payload
        return payload
    raise RuntimeError("a trigger ended without an event")


async def _tick(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(_TICK)
        lags.append(time.perf_counter() - began - _TICK)


@contextmanager
def _quiet() -> Iterator[None]:
    """The jobs' logs are written, since that is part of the work, and not shown."""
    kept = os.dup(1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


if __name__ == "__main__":
    main()
