"""What operators put on the command line is what the verbs take, and it does on a table what it says."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

import clipflow
from clipflow.cli import answer, command_line
from clipflow.errors import PolicyError
from clipflow.interval import Interval
from clipflow_airflow import (
    AuditTableOperator,
    EmbedImagesOperator,
    ForgetImagesOperator,
    JudgeTableOperator,
    MaintainTableOperator,
    MigrateEncoderOperator,
)
from clipflow_airflow.report import moved
from clipflow_airflow.tables import TableOperator
from tests.catalogues import draw, job, rows

POLICY = {"rules": [{"name": "small", "score": "min_side", "reject_below": 50}]}


def words(operator: TableOperator) -> list[str]:
    return [operator.verb, operator.table, *operator.options()]


def test_what_an_audit_asks_for_is_what_the_verb_takes() -> None:
    more = {"against": "0" * 32, "fail_if": "rejected_share > 0.2", "html": "audit.html"}
    call = command_line().parse_args(
        words(AuditTableOperator(task_id="audit", table="t.lance", by=["locale", "uploader"], **more))
    )
    assert call.table == "t.lance"
    assert call.by == ["locale", "uploader"]
    assert {name: getattr(call, name) for name in more} == more


def test_what_a_run_is_asked_beyond_its_job_is_what_the_verb_takes() -> None:
    more: dict[str, Any] = {"retry": ["too_large", "corrupt"], "redecode": ["bmp"]}
    more |= {"reconcile": True, "fail_on_empty": True}
    call = command_line().parse_args(EmbedImagesOperator(task_id="embed", job={}, **more).words(None))
    assert (call.retry, call.redecode) == ("too_large,corrupt", "bmp")
    assert (call.reconcile, call.fail_on_empty, call.interval) == (True, True, None)
    plain = EmbedImagesOperator(task_id="embed", job={}).words(Interval.parse("2026-11-01", "2026-11-02"))
    call = command_line().parse_args(plain)
    assert call.interval == ["2026-11-01T00:00:00+00:00", "2026-11-02T00:00:00+00:00"]
    assert [call.retry, call.redecode, call.reconcile, call.fail_on_empty] == [None, None, False, False]


def test_judge_audit_maintain_and_forget_on_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "images", range(3))
    table = str(tmp_path / "t.lance")
    clipflow.run(job(tmp_path / "images", table), ray="none")

    def done(operator: TableOperator) -> dict[str, Any]:
        for name, value in operator.variables().items():
            monkeypatch.setitem(os.environ, name, value)
        return answer(words(operator))

    rehearsed = done(JudgeTableOperator(task_id="a", table=table, policy=POLICY, rehearse=True))
    judged = done(JudgeTableOperator(task_id="b", table=table, policy=json.dumps(POLICY)))
    assert (rehearsed["changed"], judged["changed"], judged["rejected"]) == (3, 3, 3)
    assert done(AuditTableOperator(task_id="c", table=table))["rejected"] == 3
    assert done(MaintainTableOperator(task_id="d", table=table, keep_days=1))["tag"] == "published"
    gone = done(ForgetImagesOperator(task_id="e", table=table, uris=[f"{tmp_path}/images/000001.png"]))
    assert (gone["forgotten"], gone["verified"]) == (1, True)
    assert len(rows(table)) == 2


def test_a_migration_by_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "images", range(3))
    table, new = str(tmp_path / "t.lance"), str(tmp_path / "new.lance")
    near = {"rules": [{"name": "near", "score": "near_duplicate", "reject_above": 0.99}]}
    clipflow.run(job(tmp_path / "images", table, policy=near), ray="none")

    def done(**more: Any) -> dict[str, Any]:
        sets = ["encoder.loader=stub"]
        operator = MigrateEncoderOperator(
            task_id="m", table=table, encoder="stub:dim=8", new_table=new, sets=sets, ray="none", **more
        )
        for name, value in operator.variables().items():
            monkeypatch.setitem(os.environ, name, value)
        return answer(words(operator))

    with pytest.raises(PolicyError, match=r"near \(near_duplicate\)"):
        done(policy="", limit="")
    part = done(policy=json.dumps(near), limit="2")
    assert (part["embedded"], part["left"], part["switched"], moved(part)) == (2, 1, False, True)
    whole = done(policy=near)
    assert (whole["embedded"], whole["table"], whole["switched"], moved(whole)) == (1, new, True, True)
    assert not moved(done(policy=near))
