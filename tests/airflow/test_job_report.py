"""What comes back from a job: found in its log, small enough for XCom, its own words when it failed."""

import json

from clipflow_airflow.report import failure, find_report, moved, small
from clipflow_airflow.submission import TaskKey

REPORT = {"run_id": "r", "table": "t.lance", "version": 4, "listed": 3, "embedded": 1, "reused": 0, "failed": 0}


def test_the_report_is_the_last_document_of_the_log() -> None:
    log = f'{{"run_id": "older"}}\n{json.dumps(REPORT)}\n{{not json\n(raylet) bye\n'
    assert find_report(log) == REPORT
    assert find_report('{"level": "info"}\nhello\n') is None


def test_a_report_of_any_size_fits_into_xcom() -> None:
    assert small(REPORT) == REPORT
    large = {**REPORT, "reasons": {f"a_rather_long_rule_name_{n}": n for n in range(200)}}
    assert len(json.dumps(small(large))) < 2048
    assert small(large)["embedded"] == 1


def test_of_a_large_audit_the_counts_fit_into_xcom() -> None:
    groups = [{"column": "locale", "value": f"l{n}", "rule": "*", "n": 20, "removed": n % 20} for n in range(500)]
    audit = {"table": "t.lance", "version": 4, "rows": 10000, "rejected": 99, "flagged": 3, "groups": groups}
    audit |= {
        "rules": groups,
        "encoder": {"model": "m" * 3000},
        "fail_if": {"expression": "flagged > 5", "holds": False},
    }
    log = f"started\n{json.dumps(audit)}\n(raylet) bye\n"
    assert find_report(log) == audit
    assert small(audit) == {key: audit[key] for key in ("table", "version", "rows", "rejected", "flagged", "fail_if")}
    assert not moved(audit), "an audit makes no version"


def test_only_written_rows_move_the_table() -> None:
    assert moved(REPORT)
    assert not moved({**REPORT, "embedded": 0})


FAILED = {"status": "FAILED", "driver_exit_code": 1}


def test_a_failed_job_is_quoted() -> None:
    said = {"class": "JobFileError", "message": "source.ur is not a key.", "mend": "Did you mean 'uri'?"}
    wrong = failure("id", FAILED, json.dumps({"error": {**said, "retryable": False}}))
    assert str(wrong) == "source.ur is not a key. Did you mean 'uri'?"
    assert not wrong.retryable
    broken = failure("id", FAILED, "Traceback (most recent call last):\nMemoryError: no more.\n")
    assert str(broken) == "The Ray job id ended as FAILED: MemoryError: no more."
    assert broken.retryable


def test_a_job_without_words_is_told_by_ray() -> None:
    told = {"status": "FAILED", "message": "runtime_env could not be set up: no space left.\n"}
    assert (
        str(failure("id", told, ""))
        == "The Ray job id ended as FAILED: runtime_env could not be set up: no space left."
    )
    # It never began: the log holds no more than that Ray tried.
    waited = {"status": "FAILED", "message": "Job supervisor actor failed to start within 900 seconds.\nAsk for less."}
    said = str(failure("id", waited, "2026-11-28 INFO job_manager.py:581 -- Runtime env is setting up.\n"))
    assert said.endswith("FAILED: Job supervisor actor failed to start within 900 seconds. Ask for less.")
    assert failure("id", {"status": "STOPPED"}, "").retryable
    assert failure("id", {"status": "SUCCEEDED"}, "bye\n").retryable


def test_a_wrong_call_is_final() -> None:
    assert not failure("id", {"status": "FAILED", "driver_exit_code": 2}, "usage: clipflow\n").retryable


def test_submission_ids_tell_runs_apart() -> None:
    def first(*key: object) -> str:
        return next(TaskKey(*key).submission_ids())  # type: ignore[arg-type]

    base = ("d", "r", "t", -1, 0)
    assert first(*base) == first(*base)
    others = [("d2", "r", "t", -1, 0), ("d", "r2", "t", -1, 0), ("d", "r", "t2", -1, 0), ("d", "r", "t", 0, 0)]
    assert len({first(*key) for key in [base, *others, ("d", "r", "t", -1, 1)]}) == 6
    ids = TaskKey(*base).submission_ids()
    stem = next(ids)
    assert [next(ids), next(ids)] == [f"{stem}-1", f"{stem}-2"]


def test_earlier_generations() -> None:
    key = TaskKey("d", "r", "t", -1, 2)
    assert [earlier.generation for earlier in key.earlier()] == [1, 0]
    assert list(TaskKey("d", "r", "t", -1, -1).earlier()) == []


def test_a_run_that_was_made_again_does_not_own_the_jobs_of_the_first() -> None:
    first = TaskKey("d", "r", "t", -1, 0, "2026-03-01T00:00:00+00:00")
    again = TaskKey("d", "r", "t", -1, 0, "2026-03-02T00:00:00+00:00")
    info = {"metadata": first.metadata()}
    assert first.owns(info)
    assert not again.owns(info)
    assert next(first.submission_ids()) == next(again.submission_ids())
    assert again.owns({"metadata": None})
