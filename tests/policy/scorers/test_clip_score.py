"""CLIPScore: the paper's weight, floor and prefix, on made-up rows and on a table's own."""

import csv
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
from clipflow.policy.scorers.base import Evidence
from clipflow.policy.scorers.clip_score import ClipScore
from clipflow.spec import EncoderSpec, Rule
from tests.catalogues import STUB, draw, job

RULE = Rule(name="fits", score="clip_score")


@given(st.lists(st.floats(-math.pi, math.pi), max_size=6))
def test_the_score_is_a_cosine_above_zero_weighed(angles: list[float]) -> None:
    asked: list[str] = []

    def encode(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([[1.0, 0.0]] * len(texts), np.float32)

    rows = [*angles, math.nan]
    vectors = np.array([[math.cos(angle), math.sin(angle)] for angle in rows])
    captions = pa.array([f"picture {n}" for n in range(len(rows))])
    (found,) = ClipScore().score(RULE, None, Evidence(pa.table({"caption": captions}), vectors, encode)).values()
    assert found[:-1] == pytest.approx([2.5 * max(math.cos(angle), 0) for angle in angles], abs=1e-6)
    assert np.isnan(found[-1])
    assert asked == [f"A photo depicts picture {n}" for n in range(len(angles))]


def test_a_stored_score_follows_from_the_stored_row(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(6))
    with (tmp_path / "list.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(["uri", "text"])
        captions = ["anything", "words", "", "a cat", "more words", "at dusk"]
        lines.writerows((f"images/{name:06}.png", text) for name, text in enumerate(captions))
    rules = {"rules": [{"name": "fits", "score": "clip_score", "review_below": 0.3}]}
    source = {"kind": "manifest", "caption": "text"}
    spec = job(tmp_path / "list.csv", tmp_path / "t.lance", source=source, policy=rules)
    assert clipflow.run(spec, ray="none").counts["embedded"] == 6
    encoder = load_encoder(EncoderSpec.model_validate(STUB))
    scored = []
    for row in lance.dataset(str(tmp_path / "t.lance")).to_table().to_pylist():
        if not row["caption"]:
            assert row["score_fits"] is None
            continue
        text = encoder.encode_texts([f"A photo depicts {row['caption']}"])[0].astype(float)
        vector = np.array(row["vector"], float)
        cosine = float(vector @ text / np.linalg.norm(vector) / np.linalg.norm(text))
        assert row["score_fits"] == pytest.approx(2.5 * max(cosine, 0), abs=1e-6)
        assert row["reasons"] == (["fits"] if row["score_fits"] < np.float32(0.3) else [])
        scored.append(row["score_fits"])
    assert len(scored) == 5
    assert max(scored) > 0
