"""The caption score against plain arithmetic, on made-up rows and on a table's own."""

import csv
import json
import math
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clipflow
from clipflow.encoders import load_encoder
from clipflow.policy.scorers.base import Evidence, TextEncoder
from clipflow.policy.scorers.caption import Caption
from clipflow.spec import EncoderSpec, Rule
from tests.catalogues import STUB, draw, job

RULE = Rule(name="fits", score="caption")
TEXTS = {"one": [1.0, 0.0, 0.0], "two": [0.0, 0.6, 0.8], "slant": [0.6, 0.0, 0.8]}
VECTOR = st.lists(st.floats(-1, 1, width=16), min_size=3, max_size=3).filter(lambda v: sum(x * x for x in v) > 0.01)
ROW = st.tuples(st.none() | st.just("") | st.sampled_from(sorted(TEXTS)), st.none() | VECTOR)


def encode(texts: list[str]) -> np.ndarray:
    return np.array([TEXTS[text] for text in texts], np.float32)


def evidence(captions: list[str | None], vectors: np.ndarray, encode: TextEncoder) -> Evidence:
    return Evidence(pa.table({"caption": pa.array(captions, pa.string())}), vectors, encode)


def plain_cosine(left: list[float], right: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(left, right, strict=True)) / math.hypot(*left) / math.hypot(*right)


@given(st.lists(ROW, max_size=8))
def test_the_score_is_the_cosine_and_null_where_caption_or_vector_is_missing(
    rows: list[tuple[str | None, list[float] | None]],
) -> None:
    vectors = np.array([vector or [np.nan] * 3 for _, vector in rows], np.float64).reshape(len(rows), 3)
    found = Caption().score(RULE, None, evidence([text for text, _ in rows], vectors, encode))
    assert set(found) == {"score_fits"}
    for scores in found.values():
        assert scores.dtype == np.float32
        assert len(scores) == len(rows)
        for value, (text, vector) in zip(scores, rows, strict=True):
            if text and vector:
                assert value == pytest.approx(plain_cosine(vector, encode([text])[0].tolist()), abs=1e-6)
            else:
                assert np.isnan(value)


def test_texts_are_encoded_once_a_batch_and_only_where_they_are_needed() -> None:
    asked: list[list[str]] = []

    def listening(texts: list[str]) -> np.ndarray:
        asked.append(texts)
        return encode(texts)

    vectors = np.array([[1.0, 0, 0], [np.nan] * 3, [0, 1.0, 0]])
    Caption().score(RULE, None, evidence(["one", "two", None], vectors, listening))
    Caption().score(RULE, None, evidence([None], vectors[:1], listening))
    assert asked == [["one"]]


@pytest.mark.parametrize("kind", ["float16", "float32"])
def test_a_stored_score_follows_from_the_stored_row(tmp_path: Path, kind: str) -> None:
    draw(tmp_path / "images", range(6))
    captions = ["red", "a green thing", "", "blue", "words", None]
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["uri", "text"])
        lines.writerows((f"images/{name:06}.png", caption) for name, caption in enumerate(captions))
    spec = job(
        tmp_path / "list.csv",
        tmp_path / "t.lance",
        source={"kind": "manifest", "caption": "text"},
        table={"vector": kind},
        policy={"rules": [{"name": "fits", "score": "caption", "review_below": 0.1}]},
    )
    report = clipflow.run(spec, ray="none")
    assert report.counts["embedded"] == 6
    encoder = load_encoder(EncoderSpec.model_validate(STUB))
    scored = 0
    for row in lance.dataset(str(tmp_path / "t.lance")).to_table().to_pylist():
        if not row["caption"]:
            assert row["score_fits"] is None
            assert row["status"] == "accepted"
            continue
        scored += 1
        again = plain_cosine([float(x) for x in row["vector"]], encoder.encode_texts([row["caption"]])[0].tolist())
        assert row["score_fits"] == pytest.approx(again, abs=1e-6)
        fired = row["score_fits"] < np.float32(0.1)
        assert (row["status"], row["reasons"]) == (("review", ["fits"]) if fired else ("accepted", []))
    assert scored == 4
    about = lance.dataset(str(tmp_path / "t.lance")).schema.metadata
    assert json.loads(about[b"policy"])["rules"][0]["name"] == "fits"
