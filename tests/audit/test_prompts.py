"""Prompt sensitivity: scored again from stored vectors, by the scorer of the rule and no other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipflow.audit.audit import audit
from clipflow.audit.prompts import PARAPHRASES
from clipflow.encoders import load_encoder
from clipflow.encoders.info import EncoderInfo
from clipflow.policy.scorers import SCORERS
from clipflow.policy.scorers.base import Evidence, Floats, Scorer, TextEncoder, cosine
from clipflow.spec import EncoderSpec, Rule
from tests.audit.tables import rounded, row, write
from tests.catalogues import STUB

NAME = "product_cosine"
LABELS = {"product": "a zebra bag", "other": "something <else>"}
RULE = {"name": "off", "score": NAME, "labels": LABELS, "templates": ["{}", "my {}"], "reject_below": 0.3}


class Product(Scorer):
    """Cosine to the label `product` in the first template: enough of a label set to tell templates apart."""

    parameters = frozenset({"labels", "templates"})
    needs_text = True

    def prepare(self, rule: Rule, info: EncoderInfo, encode_texts: TextEncoder) -> Any:
        assert rule.templates is not None
        assert rule.labels is not None
        return encode_texts([rule.templates[0].format(rule.labels["product"])])[0].astype(np.float64)

    def score(self, rule: Rule, prepared: Any, evidence: Evidence) -> dict[str, Floats]:
        cosines = cosine(evidence.vectors, np.tile(prepared, (len(evidence.vectors), 1)))
        return {f"score_{rule.name}": cosines.astype(np.float32)}


@pytest.fixture
def _scorer() -> Iterator[None]:
    SCORERS[NAME] = Product()
    yield
    del SCORERS[NAME]


@pytest.mark.usefixtures("_scorer")
def test_verdicts_are_counted_under_every_template_alone(tmp_path: Path) -> None:
    encoder = load_encoder(EncoderSpec.model_validate(STUB))
    texts = [f"{template.format('a zebra bag')}" for template in ("{}", "my {}", *PARAPHRASES)]
    rng = np.random.default_rng(5)
    vectors = (encoder.encode_texts(["a zebra bag"]) + 0.5 * rng.standard_normal((60, 16))).astype(np.float16)
    stored = vectors.astype(np.float64)
    scores = [
        [rounded(float(score)) for score in cosine(stored, np.tile(text, (60, 1)))]
        for text in encoder.encode_texts(texts).astype(np.float64)
    ]
    people = {4: "accepted", 9: "rejected"}
    rows = []
    for at in range(60):
        human = people.get(at)
        status = human or ("rejected" if scores[0][at] < rounded(0.3) else "accepted")
        rows.append(row(at, status, vector=list(vectors[at]), score_off=scores[0][at], reviewed_verdict=human))
    rows.append(row(60, "failed", reasons=["corrupt"]))
    table = str(write(tmp_path / "t.lance", rows, {"rules": [RULE]}, dim=16))
    report = audit(table, prompts=True)
    (rule,) = report.rules
    assert [one["template"] for one in rule["prompts"]] == ["{}", "my {}", *PARAPHRASES]
    assert [one["own"] for one in rule["prompts"]] == [True, True, *[False] * len(PARAPHRASES)]
    before = [one["status"] for one in rows[:60]]
    for one, found in zip(rule["prompts"], scores, strict=True):
        after = [
            people.get(at) or ("rejected" if score < rounded(0.3) else "accepted") for at, score in enumerate(found)
        ]
        assert one["moved"] == sum(left != right for left, right in zip(before, after, strict=True))
        assert one["rejected"] == after.count("rejected") - before.count("rejected")
        shifts = [abs(left - right) for left, right in zip(found, scores[0], strict=True)]
        assert one["shift"] == pytest.approx(sum(shifts) / 60, abs=1e-6)
    assert rule["prompts"][0]["moved"] == 0
    assert rule["parameters"] == {"labels": LABELS, "templates": ["{}", "my {}"]}


def test_a_policy_without_label_sets_loads_no_model(tmp_path: Path) -> None:
    policy = {"rules": [{"name": "small", "score": "min_side", "reject_below": 3}]}
    table = write(tmp_path / "t.lance", [row(0, min_side=1.0)], policy)
    (rule,) = audit(str(table), prompts=True).rules
    assert rule["prompts"] is None
