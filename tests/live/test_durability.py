"""Whatever dies, and whoever ends a task: one Ray job for every attempt that was meant."""

import signal
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from clipflow_airflow.stack import Stack
from tests.live.runs import Run, until

pytestmark = pytest.mark.timeout(600)

ONE = {"0": "SUCCEEDED"}


@pytest.fixture
def start(stack: Stack, request: pytest.FixtureRequest) -> Any:
    """Starts runs whose names no other test uses."""
    name = request.node.name.replace("[", "-").replace("]", "")

    def go(word: str, dag_id: str = "nap", **conf: Any) -> Run:
        return Run.start(stack, dag_id, f"{name}-{word}-{time.time_ns()}", **conf)

    return go


def halted(stack: Stack, run: Run) -> int:
    """The process of a task that halts where it was told to."""
    marker = Path(stack.environment["CLIPFLOW_TEST_HALTS"]) / run.run_id
    return int(until(lambda: marker.read_text() if marker.exists() else None, 120, f"{run.run_id} halts"))


def told(run: Run, attempt: int = 1) -> list[int]:
    """The numbers of the lines that a nap's job printed, as the task's log has them."""
    return [int(line.rsplit(" ", 1)[1]) for line in run.log(attempt) if line.startswith("nap line ")]


@pytest.mark.parametrize("victim", ["task", "worker"])
def test_killed_at_any_moment(stack: Stack, start: Any, victim: str) -> None:
    moments = ["chosen", "submitted", "deferring", "completing"]
    runs = {moment: start(moment, seconds="3", halt=moment) for moment in moments}
    for moment, run in runs.items():
        task = psutil.Process(halted(stack, run))
        # The worker is killed first: alive, it would see its task die and say so.
        for process in [task.parent(), task] if victim == "worker" else [task]:
            process.send_signal(signal.SIGKILL)
        expected: dict[str, set[str]] = {"chosen": set(), "completing": {"0"}}
        assert set(run.jobs()) == expected.get(moment, {"0"}), moment
    for moment, run in runs.items():
        assert run.wait()["state"] == "success", moment
        assert run.jobs() == ONE, moment


@pytest.mark.parametrize("signal_sent", [signal.SIGKILL, signal.SIGTERM])
def test_the_triggerer_ends_while_polling(stack: Stack, start: Any, signal_sent: int) -> None:
    """Nothing is told twice. Lines that were on their way into the task's log may end with the triggerer."""
    runs = [start(f"{n}", seconds="30") for n in range(2)]
    for run in runs:
        run.wait("deferred")
        until(lambda run=run: told(run) or None, 120, "the first lines")  # type: ignore[misc]
    stack.kill("triggerer", signal_sent)
    until(lambda: "triggerer" in stack.ended() or None, 120, "the triggerer ends")
    assert all(run.jobs() == {"0": "RUNNING"} for run in runs)
    stack.start("triggerer")
    for run in runs:
        assert run.wait()["state"] == "success"
        assert run.jobs() == ONE
        lines = told(run)
        assert lines == sorted(set(lines))
        assert lines[0] == 0
        assert lines[-1] == 119
        assert len(lines) > 60


@pytest.mark.parametrize("service", ["scheduler", "api-server", "dag-processor"])
def test_a_service_dies(stack: Stack, start: Any, service: str) -> None:
    deferred = start("deferred", seconds="6")
    deferred.wait("deferred")
    begun = start("begun", seconds="3")
    if service != "api-server":
        begun.wait("running", "deferred")
    stack.kill(service)
    stack.start(service)
    for run in (deferred, begun):
        assert run.wait(seconds=180)["state"] == "success"
        assert run.jobs() == ONE


def test_ending_a_deferred_task_stops_its_job(start: Any) -> None:
    runs = {how: start(how, seconds="8" if how == "cleared" else "60") for how in ("cleared", "failed", "success")}
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


def test_ending_a_task_in_its_worker_stops_its_job(start: Any) -> None:
    runs = {
        how: start(how, "nap_in_worker", seconds="8" if how == "cleared" else "60") for how in ("cleared", "failed")
    }
    for run in runs.values():
        run.wait_jobs({"0": "RUNNING"})
    runs["cleared"].clear()
    runs["failed"].mark("failed")
    runs["failed"].wait_jobs({"0": "STOPPED"})
    assert runs["cleared"].wait()["state"] == "success"
    states = list(runs["cleared"].jobs().values())
    assert sorted(states) == ["STOPPED", "SUCCEEDED"]


def test_ended_while_its_job_was_being_started(stack: Stack, start: Any) -> None:
    run = start("x", seconds="60", halt="submitted")
    task = halted(stack, run)
    run.mark("failed")
    run.wait_jobs({"0": "STOPPED"})
    until(lambda: None if psutil.pid_exists(task) else True, 120, "the task's process ends")
    assert run.instance()["state"] == "failed"


def test_a_job_that_takes_too_long_is_stopped(start: Any) -> None:
    run = start("x", "nap_briefly", seconds="60")
    assert run.wait()["state"] == "failed"
    run.wait_jobs({"0": "STOPPED"})


def test_what_was_cleared_in_nobodys_presence_is_stopped(stack: Stack, start: Any) -> None:
    run = start("x", "nap", seconds="60")
    run.wait("deferred")
    run.wait_jobs({"0": "RUNNING"})
    stack.kill("triggerer")
    run.clear()
    run.wait_jobs({"0": "STOPPED", "1": "RUNNING"})
    stack.start("triggerer")
    until(lambda: told(run, 2) or None, 120, "the new triggerer follows the job")
    run.mark("success")
    run.wait_jobs({"0": "STOPPED", "1": "STOPPED"})


def test_a_worker_that_is_lost_for_good_leaves_no_job(stack: Stack, start: Any) -> None:
    """Without a retry nobody comes back to the job, so Airflow's callback ends it."""
    run = start("x", "nap_once", seconds="90", halt="submitted")
    task = psutil.Process(halted(stack, run))
    for process in (task.parent(), task):
        process.kill()
    assert run.wait()["state"] == "failed"
    run.wait_jobs({"0": "STOPPED"})


def test_errors_decide_about_retries(start: Any) -> None:
    passing = start("passing", seconds="1", end=["passing", "fine"])
    final = start("final", seconds="1", end=["final", "fine"])
    crash = start("crash", seconds="1", end=["crash", "fine"])
    for run in (passing, crash):
        assert run.wait()["state"] == "success"
        assert run.jobs() == {"0": "FAILED", "0-1": "SUCCEEDED"}
    assert final.wait()["state"] == "failed"
    assert final.jobs() == {"0": "FAILED"}


def test_a_finished_task_can_be_cleared(start: Any) -> None:
    run = start("x", seconds="1")
    assert run.wait()["state"] == "success"
    run.wait_end()
    run.clear()
    until(lambda: True if len(run.jobs()) == 2 else None, 120, "another job")
    assert run.wait()["state"] == "success"
    first, again = run.jobs().items()
    assert first == ("0", "SUCCEEDED")
    # Its number is the try that was cleared, which is a later one where Airflow had to try twice.
    assert again[0] in ("1", "2", "3")
    assert again[1] == "SUCCEEDED"


def test_a_run_that_is_made_again_has_a_job_of_its_own(stack: Stack, start: Any) -> None:
    run = start("x", seconds="1")
    run.wait_end()
    stack.delete(run.run_path)
    again = Run.start(stack, "nap", run.run_id, seconds="1")
    assert again.wait()["state"] == "success"
    assert again.jobs() == {"0": "SUCCEEDED", "0-1": "SUCCEEDED"}


def test_what_a_run_leaves(stack: Stack, start: Any) -> None:
    run = start("x", seconds="1")
    assert run.wait()["state"] == "success"
    assert run.xcom()["version"] == 7
    assert run.xcom("ray_job") == f"{stack.ray_url}/#/jobs/{submission(stack, run)}"
    log = run.log()
    opened, closed = (sum(line.startswith(word) for line in log) for word in ("::group::", "::endgroup::"))
    assert opened == closed
    assert any(line.startswith("::group::Log of the Ray job") for line in log)
    events = stack.get(f"/assets/events?source_dag_id=nap&source_run_id={run.run_id}")["asset_events"]
    assert [event["extra"]["table"] for event in events] == ["s3://lake/nap.lance"]
    everything = "\n".join([*log, str(stack.jobs()), str(run.xcom()), str(run.instance())])
    assert stack.ray_token not in everything


def submission(stack: Stack, run: Run) -> str:
    found = [job for job in stack.jobs() if (job["metadata"] or {}).get("dag_run_id") == run.run_id]
    return str(found[0]["submission_id"])


def test_a_wrong_connection_is_one_sentence(start: Any) -> None:
    run = start("x", conn_id="no_such_connection")
    assert run.wait()["state"] == "failed"
    assert run.instance()["try_number"] == 1
    assert any("AirflowFailException: There is no connection no_such_connection." in line for line in run.log())
