"""Zero-shot: the authors' ensembling and probabilities in plain arithmetic, and label sets that are none."""

import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipflow.encoders import EncoderInfo, describe, load_encoder
from clipflow.errors import PolicyError
from clipflow.policy.check import check_policy, fingerprints, score_columns
from clipflow.policy.judge import prepare, score
from clipflow.policy.scorers.base import Evidence
from clipflow.spec import EncoderSpec, PolicySpec
from tests.catalogues import STUB

ENCODER = load_encoder(EncoderSpec.model_validate(STUB))
SOFTMAX = describe(EncoderSpec.model_validate(STUB))
SIGMOID = replace(SOFTMAX, score="sigmoid", logit_scale=1.5, logit_bias=-2.0)
COSINE = replace(SOFTMAX, score="cosine", logit_scale=None)
LABELS = {"product": ["a red thing", "a thing for sale"], "text": "letters", "other": "anything else"}
RULE: dict[str, Any] = {"labels": LABELS, "label": "product", "none": "other"}
TEMPLATES = ["a photo of {}", "{}, a bad photo of {}."]
VECTORS = st.lists(st.lists(st.floats(-1, 1, width=16), min_size=16, max_size=16), min_size=1, max_size=5).filter(
    lambda rows: all(sum(x * x for x in row) > 0.01 for row in rows)
)


def policy(**rule: Any) -> PolicySpec:
    return PolicySpec.model_validate({"rules": [{"name": "mine", "score": "zero_shot", **RULE, **rule}]})


def scores(spec: PolicySpec, info: EncoderInfo, vectors: Any) -> dict[str, np.ndarray]:
    check_policy(spec, info, captions=False)
    made = pickle.loads(pickle.dumps(prepare(spec, info, ENCODER.encode_texts)))
    rows = np.array(vectors, np.float64).reshape(-1, 16)
    return score(spec, made, Evidence(pa.table({"n": range(len(rows))}), rows, _nobody))[1]


def _nobody(texts: list[str]) -> np.ndarray:
    raise AssertionError("labels are encoded once a run, not with every batch")


def plain(vector: list[float], texts: dict[str, list[str]], info: EncoderInfo) -> dict[str, float]:
    """The probabilities by label in pure Python; `texts` are those in their templates."""
    cosines = {}
    for key, written in texts.items():
        encoded = [ENCODER.encode_texts([text])[0].astype(float).tolist() for text in written]
        units = [[x / math.hypot(*one) for x in one] for one in encoded]
        mean = [math.fsum(column) / len(units) for column in zip(*units, strict=True)]
        dot = math.fsum(a * b for a, b in zip(vector, mean, strict=True))
        cosines[key] = dot / math.hypot(*vector) / math.hypot(*mean)
    if info.score == "cosine":
        return cosines
    logits = {key: math.exp(info.logit_scale or 0) * c + (info.logit_bias or 0) for key, c in cosines.items()}
    if info.score == "sigmoid":
        return {key: 1 / (1 + math.exp(-value)) for key, value in logits.items()}
    total = math.fsum(math.exp(value - max(logits.values())) for value in logits.values())
    return {key: math.exp(value - max(logits.values())) / total for key, value in logits.items()}


@pytest.mark.parametrize("info", [SOFTMAX, SIGMOID, COSINE], ids=lambda info: info.score)
@given(vectors=VECTORS)
def test_probabilities_are_those_of_the_authors(info: EncoderInfo, vectors: list[list[float]]) -> None:
    found = scores(policy(keep=["other", "text"], templates=TEMPLATES), info, vectors)
    assert set(found) == {"score_mine", "score_mine__text", "score_mine__other"}
    listed = {key: [texts] if isinstance(texts, str) else texts for key, texts in LABELS.items()}
    filled = {key: [t.replace("{}", text) for text in texts for t in TEMPLATES] for key, texts in listed.items()}
    for row, vector in enumerate(vectors):
        wanted = plain(vector, filled, info)
        for column, key in [("score_mine", "product"), ("score_mine__text", "text"), ("score_mine__other", "other")]:
            assert found[column].dtype == np.float32
            assert found[column][row] == pytest.approx(wanted[key], abs=1e-6)


@pytest.mark.parametrize("info", [SOFTMAX, SIGMOID], ids=lambda info: info.score)
@given(vectors=VECTORS)
def test_the_size_of_a_batch_decides_no_digit(info: EncoderInfo, vectors: list[list[float]]) -> None:
    together = scores(policy(keep=["text"]), info, vectors)
    for row, vector in enumerate(vectors):
        for column, values in scores(policy(keep=["text"]), info, [vector]).items():
            assert values[0] == together[column][row]


@pytest.mark.parametrize("info", [SOFTMAX, SIGMOID, COSINE], ids=lambda info: info.score)
def test_a_row_without_a_vector_has_no_score(info: EncoderInfo) -> None:
    for values in scores(policy(keep=["text"]), info, [[np.nan] * 16, [1.0] * 16]).values():
        assert np.isnan(values[0])
        assert np.isfinite(values[1])
    assert all(len(values) == 0 for values in scores(policy(keep=["text"]), info, []).values())


def test_a_sharp_scale_neither_overflows_nor_loses_the_sum() -> None:
    sharp = replace(SOFTMAX, logit_scale=9.0)
    found = scores(policy(label="text", keep=["product", "other"]), sharp, np.eye(16))
    assert sum(values for values in found.values()) == pytest.approx(np.ones(16), abs=1e-6)


def test_templates_are_filled_and_never_formatted() -> None:
    asked: list[str] = []

    def listening(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return ENCODER.encode_texts(texts)

    labels = {"a": "one {}", "b": "{0.__class__}"}
    spec = policy(labels=labels, label="a", none="b", templates=["x {} {} {0} {y!r}"])
    check_policy(spec, SOFTMAX, captions=False)
    prepare(spec, SOFTMAX, listening)
    assert sorted(asked) == ["x one {} one {} {0} {y!r}", "x {0.__class__} {0.__class__} {0} {y!r}"]


SAME: list[dict[str, Any]] = [
    {"labels": dict(reversed(LABELS.items()))},
    {"labels": {**LABELS, "text": ["letters"]}},
    {"templates": ["{}"]},
    {"none": None, "closed": True},
    {"reject_above": 0.5, "review_above": 0.2},
]
OTHER: list[dict[str, Any]] = [
    {"labels": {**LABELS, "text": "letter"}},
    {"templates": ["a {}"]},
    {"label": "text"},
    {"keep": ["text"]},
]


@pytest.mark.parametrize("change", SAME)
def test_equal_sets_of_labels_have_equal_fingerprints_and_scores(change: dict[str, Any]) -> None:
    assert fingerprints(policy(**change), SOFTMAX) == fingerprints(policy(), SOFTMAX)
    vector = [[0.3, -0.1] * 8]
    assert scores(policy(**change), SOFTMAX, vector) == scores(policy(), SOFTMAX, vector)


@pytest.mark.parametrize("change", OTHER)
def test_another_set_of_labels_has_another_fingerprint(change: dict[str, Any]) -> None:
    assert fingerprints(policy(**change), SOFTMAX) != fingerprints(policy(), SOFTMAX)


def test_the_encoder_is_in_the_fingerprint() -> None:
    for info in (replace(SOFTMAX, checkpoint_fp="0" * 64), replace(SOFTMAX, text={"max_length": 7}), SIGMOID):
        assert fingerprints(policy(), info) != fingerprints(policy(), SOFTMAX)


def test_the_order_of_keep_is_no_other_set_of_columns() -> None:
    one, two = policy(keep=["text", "other"]), policy(keep=["other", "text"])
    assert fingerprints(one, SOFTMAX) == fingerprints(two, SOFTMAX)
    assert score_columns(one) == ["score_mine", "score_mine__text", "score_mine__other"]


def test_two_spellings_of_a_text_are_one() -> None:
    labels = [{"a": f"caf{end}", "b": "tea"} for end in ("\u00e9", "e\u0301")]
    one, two = (policy(labels=each, label="a", none="b") for each in labels)
    assert fingerprints(one, SOFTMAX) == fingerprints(two, SOFTMAX)
    assert scores(one, SOFTMAX, [[1.0] * 16]) == scores(two, SOFTMAX, [[1.0] * 16])
    lowered = replace(SOFTMAX, text={"lower_case": True})
    loud = policy(labels={"a": "CAF\u00c9", "b": "Tea"}, label="a", none="b")
    assert fingerprints(loud, lowered) == fingerprints(one, lowered)
    assert fingerprints(loud, SOFTMAX) != fingerprints(one, SOFTMAX)


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"labels": None}, "needs labels", "labels: {key: text"),
    ({"labels": {}}, "needs labels", "labels: {key: text"),
    ({"label": None}, "needs label, the key", "one key of labels"),
    ({"label": "produkt"}, "label is 'produkt', which is no key", "Did you mean 'product'?"),
    ({"label": "zzz"}, "label is 'zzz'", "Keys are other, product, text."),
    ({"none": "othr"}, "none is 'othr', which is no key", "Did you mean 'other'?"),
    ({"none": None}, "nothing for an image that shows none of them", "none: KEY, or say closed: true"),
    ({"none": None, "closed": False}, "nothing for an image that shows none of them", "closed: true"),
    ({"closed": True}, "exclude each other", "Keep one"),
    ({"labels": {"product": "a"}, "none": "product"}, "a single label", "Add a label"),
    ({"labels": {"product": "a"}, "none": None, "closed": True}, "a single label", "Add a label"),
    ({"keep": ["txt"]}, "keep names 'txt', which is no key", "Did you mean 'text'?"),
    ({"keep": ["text", "text"]}, "keep names 'text' twice", "once"),
    ({"labels": {**LABELS, "A b": "x"}, "keep": ["A b"]}, "'A b' cannot name a column", "[a-z][a-z0-9_]*"),
    ({"labels": {**LABELS, "a__b": "x"}, "keep": ["a__b"]}, "'a__b' cannot name a column", "double underscore"),
    ({"templates": []}, "templates is empty", "Leave it out"),
    ({"templates": ["a photo"]}, "'a photo' has no place for a label", "Write {}"),
    ({"templates": ["a {}", "a {}"]}, "'a {}' stands there twice", "Keep one"),
    ({"labels": {**LABELS, "text": ""}}, "the label 'text' has no text", "Say in words"),
    ({"labels": {**LABELS, "text": ["a", " "]}}, "the label 'text' has no text", "Say in words"),
    ({"labels": {**LABELS, "text": []}}, "the label 'text' has no text", "Say in words"),
    ({"labels": {**LABELS, "text": "anything else"}}, "'anything else' stands under 'other' and under 'text'", "Keep"),
    ({"labels": {**LABELS, "text": ["x", "x"]}}, "'x' stands under 'text' and under 'text'", "Keep one"),
    ({"labels": {**LABELS, "text": ["\u00e9", "e\u0301"]}}, "stands under 'text' and under 'text'", "Keep one"),
]


@pytest.mark.parametrize(("change", "words", "mend"), WRONG)
def test_what_is_no_set_of_labels_is_refused(change: dict[str, Any], words: str, mend: str) -> None:
    with pytest.raises(PolicyError) as caught:
        check_policy(policy(**change), SOFTMAX, captions=False)
    assert caught.value.message.startswith("Rule 'mine': ")
    assert words in caught.value.message
    assert mend in caught.value.mend


def test_labels_that_are_not_kept_may_have_any_key() -> None:
    check_policy(policy(labels={"Ein Ding": "a", "a__b": "c"}, label="Ein Ding", none="a__b"), SOFTMAX, captions=False)


def test_one_label_is_enough_for_a_sigmoid_that_is_closed() -> None:
    spec = policy(labels={"text": "letters"}, label="text", none=None, closed=True)
    check_policy(spec, SIGMOID, captions=False)
    with pytest.raises(PolicyError, match="a single label"):
        check_policy(spec, SOFTMAX, captions=False)


def test_a_text_without_a_vector_is_refused() -> None:
    with pytest.raises(PolicyError, match="Rule 'mine': stub:dim=16 has no vector for a text of its labels"):
        prepare(policy(), SOFTMAX, lambda texts: np.full((len(texts), 16), np.nan, np.float32))
