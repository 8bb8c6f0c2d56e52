"""Whatever dies, and whoever ends a task: one Ray job for every attempt that was meant.

What needs no kill of a service comes first: all its naps begin together, see `naps`, and each test looks at its own.
"""

import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from clipflow_airflow.stack import Stack
from tests.live.runs import Run, until

pytestmark = pytest.mark.timeout(1500)

ONE = {"0": "SUCCEEDED"}
# A nap that somebody stops: no machine is so busy that it ends before.
LONG = "900"
MOMENTS = ("chosen", "submitted", "deferring", "completing")
VICTIMS = ("task", "worker")


@pytest.fixture(scope="module")
def naps(stack: Stack) -> Iterator[dict[str, Run]]:
    """The naps of all tests that kill no service, begun at once."""
    forms: dict[str, tuple[str, dict[str, Any]]] = {
        # What is cleared naps again, and shortly.
        "cleared": ("nap", {"seconds": f"{LONG} 1"}),
        "failed": ("nap", {"seconds": LONG}),
        "success": ("nap", {"seconds": LONG}),
        "worker-cleared": ("nap_in_worker", {"seconds": f"{LONG} 1"}),
        "worker-failed": ("nap_in_worker", {"seconds": LONG}),
        "being-started": ("nap", {"seconds": LONG, "halt": "submitted"}),
        "too-long": ("nap_briefly", {"seconds": LONG}),
        "passing": ("nap", {"seconds": "1", "end": ["passing", "fine"]}),
        "final": ("nap", {"seconds": "1", "end": ["final", "fine"]}),
        "crash": ("nap", {"seconds": "1", "end": ["crash", "fine"]}),
        # Without a retry, and over as soon as deferred: see `clipflow_airflow.handover`.
        **{word: ("nap_once", {"seconds": "0.25"}) for word in ("finished", "made-again", "leaves")},
        "wrong-connection": ("nap", {"conn_id": "no_such_connection"}),
    }
    runs = {word: begin(stack, word, dag_id, **conf) for word, (dag_id, conf) in forms.items()}
    yield runs
    for run in runs.values():
        # The nap of a test that failed, or was not chosen, is in nobody's way.
        if run.instance()["state"] not in ("success", "failed"):
            run.mark("failed")


@pytest.fixture(scope="module")
def struck(stack: Stack) -> dict[str, dict[str, Run]]:
    """Naps whose task, or whose worker, was killed at each of the moments, and one of those that are not tried again.

    All are struck before the first is waited for: Airflow needs a while to miss a heartbeat.
    """
    runs = {victim: {at: begin(stack, f"{victim}-{at}", seconds="3", halt=at) for at in MOMENTS} for victim in VICTIMS}
    runs["for good"] = {
        "submitted": begin(stack, "lost", "nap_once", seconds=LONG, halt="submitted"),
        "mapped": replace(begin(stack, "lost-mapped", "nap_mapped", seconds=LONG, halt="submitted"), map_index=0),
    }
    for victim, at in runs.items():
        for moment, run in at.items():
            task = psutil.Process(halted(stack, run))
            # The worker is killed first: alive, it would see its task die and say so.
            worker = task.parent()
            assert worker
            for process in [task] if victim == "task" else [worker, task]:
                process.send_signal(signal.SIGKILL)
            expected: dict[str, set[str]] = {"chosen": set(), "completing": {"0"}}
            assert set(run.jobs()) == expected.get(moment, {"0"}), moment
    return runs


def begin(stack: Stack, word: str, dag_id: str = "nap", **conf: Any) -> Run:
    """Start a run whose name no other has."""
    return Run.start(stack, dag_id, f"{word}-{time.time_ns()}", **conf)


def halted(stack: Stack, run: Run) -> int:
    """The process of a task that halts where it was told to."""
    marker = Path(stack.environment["CLIPFLOW_TEST_HALTS"]) / run.run_id
    return int(until(lambda: marker.read_text() if marker.exists() else None, 400, f"{run.run_id} halts"))


def told(run: Run, attempt: int = 1) -> list[int]:
    """The numbers of the lines that a nap's job printed, as the task's log has them."""
    return [int(line.rsplit(" ", 1)[1]) for line in run.log(attempt) if line.startswith("nap line ")]


def wake(stack: Stack, run: Run) -> None:
    """End a nap."""
    Path(stack.environment["CLIPFLOW_TEST_HALTS"], f"{run.run_id}.wake").touch()


def test_errors_decide_about_retries(stack: Stack, naps: dict[str, Run]) -> None:
    passing, final, crash = naps["passing"], naps["final"], naps["crash"]
    for run in (passing, crash):
        assert run.wait()["state"] == "success"
        assert run.jobs() == {"0": "FAILED", "0-1": "SUCCEEDED"}
    jobs = [job for job in stack.jobs() if (job["metadata"] or {}).get("dag_run_id") == passing.run_id]
    assert [job["runtime_env"]["env_vars"]["NAP_OF"] for job in jobs] == [passing.run_id] * 2, "kept over attempts"
    assert final.wait()["state"] == "failed"
    assert final.jobs() == {"0": "FAILED"}


def test_a_wrong_connection_is_one_sentence(naps: dict[str, Run]) -> None:
    run = naps["wrong-connection"]
    assert run.wait()["state"] == "failed"
    assert run.instance()["try_number"] == 1
    assert any("AirflowFailException: There is no connection no_such_connection." in line for line in run.log())


def test_what_a_run_leaves(stack: Stack, naps: dict[str, Run]) -> None:
    run = naps["leaves"]
    assert run.wait()["state"] == "success"
    assert not stack.get("/eventLogs?event=state%20mismatch")["total_entries"], "a task taken for killed"
    assert run.xcom()["version"] == 7
    assert run.xcom("ray_job") == f"{stack.ray_url}/#/jobs/{submission(stack, run)}"
    log = run.log()
    opened, closed = (sum(line.startswith(word) for line in log) for word in ("::group::", "::endgroup::"))
    assert opened == closed
    assert any(line.startswith("::group::Log of the Ray job") for line in log)
    events = stack.get(f"/assets/events?source_dag_id=nap_once&source_run_id={run.run_id}")["asset_events"]
    assert [event["extra"]["table"] for event in events] == ["s3://lake/nap.lance"]
    everything = "\n".join([*log, str(stack.jobs()), str(run.xcom()), str(run.instance())])
    assert stack.ray_token not in everything


def submission(stack: Stack, run: Run) -> str:
    found = [job for job in stack.jobs() if (job["metadata"] or {}).get("dag_run_id") == run.run_id]
    return str(found[0]["submission_id"])


def test_a_finished_task_can_be_cleared(naps: dict[str, Run]) -> None:
    run = naps["finished"]
    assert run.wait()["state"] == "success"
    run.wait_end()
    run.clear()
    until(lambda: True if len(run.jobs()) == 2 else None, 400, "another job")
    assert run.wait()["state"] == "success"
    first, again = run.jobs().items()
    assert first == ("0", "SUCCEEDED")
    assert again == ("1", "SUCCEEDED")


def test_a_run_that_is_made_again_has_a_job_of_its_own(stack: Stack, naps: dict[str, Run]) -> None:
    run = naps["made-again"]
    run.wait_end()
    stack.delete(run.run_path)
    again = Run.start(stack, run.dag_id, run.run_id, seconds="0.25")
    assert again.wait()["state"] == "success"
    assert again.jobs() == {"0": "SUCCEEDED", "0-1": "SUCCEEDED"}


def test_ending_a_deferred_task_stops_its_job(naps: dict[str, Run]) -> None:
    runs = {how: naps[how] for how in ("cleared", "failed", "success")}
    for run in runs.values():
        run.wait("deferred")
        run.wait_jobs({"0": "RUNNING"})
    for how, run in runs.items():
        run.clear() if how == "cleared" else run.mark(how)
    for how in ("failed", "success"):
        runs[how].wait_jobs({"0": "STOPPED"})
        assert runs[how].instance()["state"] == how
    assert runs["cleared"].wait()["state"] == "success"
    # After a clear the job is another one, and has a name of another generation.
    assert runs["cleared"].jobs() == {"0": "STOPPED", "1": "SUCCEEDED"}


def test_ending_a_task_in_its_worker_stops_its_job(naps: dict[str, Run]) -> None:
    runs = {how: naps[f"worker-{how}"] for how in ("cleared", "failed")}
    for run in runs.values():
        run.wait_jobs({"0": "RUNNING"})
    runs["cleared"].clear()
    runs["failed"].mark("failed")
    runs["failed"].wait_jobs({"0": "STOPPED"})
    assert runs["cleared"].wait()["state"] == "success"
    states = list(runs["cleared"].jobs().values())
    assert sorted(states) == ["STOPPED", "SUCCEEDED"]


def test_ended_while_its_job_was_being_started(stack: Stack, naps: dict[str, Run]) -> None:
    run = naps["being-started"]
    task = halted(stack, run)
    run.mark("failed")
    run.wait_jobs({"0": "STOPPED"})
    until(lambda: None if psutil.pid_exists(task) else True, 400, "the task's process ends")
    assert run.instance()["state"] == "failed"


def test_a_job_that_takes_too_long_is_stopped(naps: dict[str, Run]) -> None:
    run = naps["too-long"]
    assert run.wait()["state"] == "failed"
    run.wait_jobs({"0": "STOPPED"})


def test_a_worker_that_is_lost_for_good_leaves_no_job(struck: dict[str, dict[str, Run]]) -> None:
    """Without a retry nobody comes back to the job, so Airflow's callback ends it."""
    for run in struck["for good"].values():
        assert run.wait()["state"] == "failed"
        run.wait_jobs({"0": "STOPPED"})


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_at_any_moment(struck: dict[str, dict[str, Run]], victim: str) -> None:
    for moment, run in struck[victim].items():
        assert run.wait()["state"] == "success", moment
        assert run.jobs() == ONE, moment


def test_what_was_cleared_in_nobodys_presence_is_stopped(stack: Stack) -> None:
    run = begin(stack, "nobody", seconds=LONG)
    run.wait("deferred")
    run.wait_jobs({"0": "RUNNING"})
    stack.kill("triggerer")
    run.clear()
    run.wait_jobs({"0": "STOPPED", "1": "RUNNING"})
    stack.start("triggerer")
    until(lambda: told(run, 2) or None, 400, "the new triggerer follows the job")
    run.mark("success")
    run.wait_jobs({"0": "STOPPED", "1": "STOPPED"})


@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, signal.SIGTERM])
def test_the_triggerer_ends_while_polling(stack: Stack, signal_sent: int) -> None:
    """Nothing is told twice. Lines that were on their way into the task's log may end with the triggerer."""
    runs = [begin(stack, f"polling-{signal_sent:d}-{n}", seconds=LONG) for n in range(2)]
    for run in runs:
        run.wait("deferred")
        until(lambda run=run: told(run) or None, 400, "the first lines")  # type: ignore[misc]
    stack.kill("triggerer", signal_sent)
    until(lambda: "triggerer" in stack.ended() or None, 400, "the triggerer ends")
    assert all(run.jobs() == {"0": "RUNNING"} for run in runs)
    before = [told(run)[-1] for run in runs]
    stack.start("triggerer")
    for run, line in zip(runs, before, strict=True):
        until(lambda run=run, line=line: told(run)[-1] > line or None, 400, "later lines")  # type: ignore[misc]
        wake(stack, run)
    for run in runs:
        assert run.wait()["state"] == "success"
        assert run.jobs() == ONE
        lines, printed = told(run), run.xcom()["listed"]
        assert lines == sorted(set(lines))
        assert lines[0] == 0
        assert lines[-1] == printed - 1
        assert len(lines) > printed / 2


@pytest.mark.parametrize("service", ["scheduler", "api-server", "dag-processor"])
def test_a_service_dies(stack: Stack, service: str) -> None:
    deferred = begin(stack, f"{service}-deferred", seconds=LONG)
    deferred.wait("deferred")
    begun = begin(stack, f"{service}-begun", seconds=LONG)
    if service != "api-server":
        begun.wait("running", "deferred")
    stack.kill(service)
    stack.start(service)
    for run in (deferred, begun):
        wake(stack, run)
    for run in (deferred, begun):
        assert run.wait()["state"] == "success"
        assert run.jobs() == ONE
