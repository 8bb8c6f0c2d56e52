"""Rules that cannot be applied, as the command line refuses them: by plan, doctor and run alike, writing nothing."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clipflow.cli import main
from clipflow.policy.head_file import write_head
from tests.catalogues import STUB, draw
from tests.policy.scorers.test_head import about, layers

SET: dict[str, Any] = {"score": "zero_shot", "labels": {"a": "red", "b": "blue"}, "label": "a"}
RULES: dict[str, tuple[dict[str, Any], str]] = {
    "a set of labels without a counter-label": (SET, "say closed: true if every image shows one of them"),
    "a label that is none": ({**SET, "label": "c", "none": "b"}, "label is 'c', which is no key of labels"),
    "CLIPScore without captions": ({"score": "clip_score"}, "Set source.caption"),
    "a head that is not there": ({"score": "head", "weights": "none.safetensors"}, "There is no head none.safetensors"),
    "a head of another encoder": ({"score": "head", "weights": "other.safetensors"}, "belongs to the checkpoint 0000"),
    "a head that is none": ({"score": "head", "weights": "job.json"}, "is not a whole safetensors file"),
    "an expression that is none": ({"score": "expression", "sql": "width >"}, "sql is no expression"),
    "an expression with a clock": ({"score": "expression", "sql": "year(now())"}, "sql calls now"),
    "an expression over the verdict": ({"score": "expression", "sql": "status = 'failed'"}, "sql names status"),
    "an attribute that is none": ({"score": "expression", "sql": "attr_locale = 'de'"}, "names no attribute 'locale'"),
    "a parameter of another score": ({"score": "head", "sql": "1"}, "sql is no parameter of the score head"),
}


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("verb", ["plan", "doctor", "run"])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_cannot_be_applied_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "images", range(2))
    write_head(tmp_path / "other.safetensors", layers(16, (1,)), about(checkpoint_fp="0" * 64))
    rule, words = RULES[name]
    whole = {"name": "test", "source": {"uri": "images"}, "encoder": STUB, "table": {"uri": "lake/t.lance"}}
    (tmp_path / "job.json").write_text(json.dumps({**whole, "policy": {"rules": [{"name": "mine", **rule}]}}))
    before = sorted(tmp_path.rglob("*"))
    assert main([verb, "job.json", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["class"] == "PolicyError"
    assert error["message"].startswith("Rule 'mine'")
    assert words in f"{error['message']} {error['mend']}"
    assert error["mend"]
    assert "\n" not in error["message"] + error["mend"]
    assert sorted(tmp_path.rglob("*")) == before
