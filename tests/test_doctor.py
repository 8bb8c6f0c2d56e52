"""Doctor: every part of a job is tried on its own, and a bad part does not spoil the others."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

import clipflow
from clipflow.doctor import Diagnosis, examine
from tests.catalogues import STUB, draw, job
from tests.tiny_models import tiny_clip

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a job file over a folder of two pictures; keywords replace its parts."""
    draw(tmp_path / "images", range(2))

    def written(**parts: Any) -> str:
        whole = {
            "name": "test",
            "source": {"uri": str(tmp_path / "images")},
            "encoder": STUB,
            "table": {"uri": str(tmp_path / "lake" / "t.lance")},
        }
        path = tmp_path / "job.json"
        path.write_text(json.dumps(whole | parts))
        return str(path)

    return written


def bad(diagnosis: Diagnosis) -> list[str]:
    for check in diagnosis.checks:
        assert check.message
        assert "\n" not in check.message + check.mend
    return [check.name for check in diagnosis.checks if not check.ok]


def said(diagnosis: Diagnosis, name: str) -> str:
    (check,) = [check for check in diagnosis.checks if check.name == name]
    return f"{check.message} {check.mend}".strip()


def test_all_is_well_and_nothing_is_left_behind(write: Write, tmp_path: Path) -> None:
    path = write(policy={"rules": [{"name": "small", "score": "min_side", "reject_below": 8}]})
    before = sorted(tmp_path.rglob("*"))
    diagnosis = examine(path, [], None, None)
    assert [check.name for check in diagnosis.checks] == ["job", "source", "encoder", "policy", "table"]
    assert bad(diagnosis) == []
    assert (diagnosis.exit_code, diagnosis.error) == (0, None)
    assert "error" not in diagnosis.document()
    assert said(diagnosis, "source").endswith("holds images")
    assert "16 dimensions" in said(diagnosis, "encoder")
    assert said(diagnosis, "policy").startswith("1 rules")
    assert said(diagnosis, "table").endswith("will be created")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_that_is_there_is_counted(write: Write, tmp_path: Path) -> None:
    clipflow.run(job(tmp_path / "images", tmp_path / "lake" / "t.lance"), ray="none")
    assert said(examine(write(), [], None, None), "table").endswith("t.lance has 2 rows at version 2")


def test_an_empty_window_is_well_and_said(write: Write, tmp_path: Path) -> None:
    path = write(source={"uri": str(tmp_path / "images"), "window": "modified"})
    diagnosis = examine(path, [], ["2001-01-01", "2001-01-02"], None)
    assert bad(diagnosis) == []
    assert any("lists 0 objects in this interval" in check.message for check in diagnosis.checks)


def test_a_job_that_cannot_be_read_ends_the_examination(write: Write, tmp_path: Path) -> None:
    for diagnosis in (
        examine(str(tmp_path / "none.yaml"), [], None, None),
        examine(write(nmae="x"), [], None, None),
        examine(write(), ["table.uri"], None, None),
        examine(write(), [], ["2026-01-02", "2026-01-01"], None),
    ):
        assert bad(diagnosis) == ["job"]
        assert diagnosis.exit_code == 2


@pytest.mark.parametrize(
    ("parts", "name", "words"),
    [
        ({"source": {"uri": "/nowhere/images"}}, "source", "/nowhere/images' does not exist"),
        ({"encoder": {"model": "demmo"}}, "encoder", "Did you mean 'demo'?"),
        ({"encoder": {"model": "stub:", "loader": "stib"}}, "encoder", "There is no loader 'stib'"),
        ({"encoder": {"model": "stub:dim=none", "loader": "stub"}}, "encoder", "no option 'dim=none'"),
        ({"policy": {"rules": [{"name": "a", "score": "blurr"}]}}, "policy", "Did you mean 'blur'?"),
        ({"policy": {"rules": [{"name": "a", "score": "semdedup"}]}}, "policy", "needs clusters"),
        ({"policy": {"rules": [{"name": "a", "score": "caption"}]}}, "policy", "Set source.caption"),
        ({"table": {"uri": "/nowhere/t"}}, "table", "Name it /nowhere/t.lance."),
        ({"table": {"uri": "gs://lake/t.lance"}}, "table", "not supported"),
        ({"table": {"uri": "/proc/lake/t.lance"}}, "table", "/proc"),
    ],
)
def test_one_bad_part_is_one_bad_check(write: Write, parts: dict[str, Any], name: str, words: str) -> None:
    diagnosis = examine(write(**parts), [], None, None)
    assert bad(diagnosis) == [name]
    assert words in said(diagnosis, name)
    assert diagnosis.exit_code == 2
    error = diagnosis.document()["error"]
    assert (f"{error['message']} {error['mend']}".strip(), error["retryable"]) == (said(diagnosis, name), False)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"encoder": {"model": "stub:dim=8", "loader": "stub"}}, "holds vectors of stub:dim=16"),
        ({"policy": {"rules": [{"name": "a", "score": "blur", "reject_below": 1}]}}, "was judged by policy"),
        ({"vector": "float32"}, "The column vector"),
    ],
)
def test_a_table_of_another_kind_is_bad(write: Write, tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    clipflow.run(job(tmp_path / "images", tmp_path / "lake" / "t.lance"), ray="none")
    if "vector" in parts:
        parts = {"table": {"uri": str(tmp_path / "lake" / "t.lance"), **parts}}
    diagnosis = examine(write(**parts), [], None, None)
    assert bad(diagnosis) == ["table"]
    assert words in said(diagnosis, "table")


def test_a_bad_encoder_does_not_hide_that_the_table_is_there(write: Write, tmp_path: Path) -> None:
    clipflow.run(job(tmp_path / "images", tmp_path / "lake" / "t.lance"), ray="none")
    diagnosis = examine(write(encoder={"model": "demmo"}), [], None, None)
    assert bad(diagnosis) == ["encoder"]
    assert "has 2 rows at version 2" in said(diagnosis, "table")


def test_an_encoder_without_finite_vectors_is_bad(write: Write, tmp_path: Path) -> None:
    weights = tiny_clip(tmp_path / "model") / "model.safetensors"
    tensors = load_file(weights)
    tensors["visual_projection.weight"].fill_(float("nan"))
    save_file(tensors, weights, {"format": "pt"})
    diagnosis = examine(write(encoder={"model": str(tmp_path / "model")}), [], None, None)
    assert bad(diagnosis) == ["encoder"]
    assert "gives vectors that are not finite" in said(diagnosis, "encoder")


def test_a_cluster_that_is_none_is_bad_and_may_be_there_later(write: Write) -> None:
    assert "ray" not in [check.name for check in examine(write(), [], None, "none").checks]
    diagnosis = examine(write(), [], None, "nowhere")
    assert bad(diagnosis) == ["ray"]
    assert "The Ray cluster nowhere does not answer" in said(diagnosis, "ray")
    assert (diagnosis.exit_code, diagnosis.document()["error"]["retryable"]) == (1, True)


def test_the_gravest_part_decides_how_it_ends(write: Write) -> None:
    diagnosis = examine(write(encoder={"model": "demmo"}), [], None, "nowhere")
    assert bad(diagnosis) == ["encoder", "ray"]
    assert (diagnosis.exit_code, diagnosis.document()["error"]["class"]) == (2, "EncoderError")


def test_every_bad_part_is_named_at_once(write: Write) -> None:
    path = write(
        source={"uri": "/nowhere/images"},
        encoder={"model": "demmo"},
        policy={"rules": [{"name": "a", "score": "blurr"}]},
        table={"uri": "/nowhere/t"},
    )
    diagnosis = examine(path, [], None, None)
    assert bad(diagnosis) == ["source", "encoder", "policy", "table"]
    assert diagnosis.document()["error"]["class"] == "SourceError", "the first of them"
    assert len(diagnosis.text().splitlines()) == 5
    assert [line[:3] for line in diagnosis.text().splitlines()] == ["ok ", "BAD", "BAD", "BAD", "BAD"]


def test_what_was_wrong_is_let_go(write: Write) -> None:
    """A cursor of DuckDB in the frames of an error would be told as leaked when the process ends."""
    rule = {"name": "a", "score": "expression", "sql": "blur > 'a'", "reject_above": 1}
    diagnosis = examine(write(policy={"rules": [rule]}), [], None, None)
    assert bad(diagnosis) == ["policy"]
    assert diagnosis.error is not None
    assert (diagnosis.error.__traceback__, diagnosis.error.__cause__, diagnosis.error.__context__) == (None, None, None)


def test_nothing_is_said_at_the_end_but_the_checks(write: Write) -> None:
    rules = [
        {"name": "a", "score": "expression", "sql": "blur > 1", "reject_above": 1},
        {"name": "b", "score": "expression", "sql": "blur + caption", "reject_above": 1},
    ]
    command = [sys.executable, "-m", "clipflow", "doctor", write(policy={"rules": rules})]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 2
    assert ended.stderr == ""
    assert "Candidate functions" not in ended.stdout
    assert all(line.startswith(("ok ", "BAD ")) for line in ended.stdout.splitlines())
