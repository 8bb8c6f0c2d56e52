"""Scores of whole runs over real checkpoints, against what transformers says of the same files."""

from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoTokenizer, CLIPImageProcessorPil, SiglipImageProcessorPil, pipeline

import clipflow
from clipflow.encoders import describe, text_encoder
from clipflow.policy.head_file import write_head
from clipflow.policy.judge import prepare, score
from clipflow.policy.scorers.base import Evidence
from clipflow.spec import EncoderSpec
from tests.catalogues import draw, job, rows
from tests.tiny_models import SIGLIP_LENGTH, tiny_clip, tiny_siglip

LABELS = {"square": "a photo of a red square", "temple": "a temple in china", "words": "screenshot of text"}
CLOSE = {"float32": 1e-4, "float16": 3e-3}
COLUMNS = {"score_look": "square", "score_look__temple": "temple", "score_look__words": "words"}


@pytest.fixture(scope="module", params=["clip", "siglip"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp(request.param) / "tiny"
    return tiny_clip(folder) if request.param == "clip" else tiny_siglip(folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    draw(folder, range(7))
    return folder


@pytest.fixture(scope="module")
def expected(checkpoint: Path, images: Path) -> dict[str, dict[str, float]]:
    """By file name and label, what transformers says: its pipeline for CLIP, its model for SigLIP.

    The pipeline pads texts of SigLIP to 64 tokens, which the tiny one has no positions for.
    """
    model = AutoModel.from_pretrained(checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    paths = sorted(images.iterdir())
    if model.config.model_type == "siglip":
        opened: list[Image.Image] = [Image.open(path) for path in paths]
        pixels = SiglipImageProcessorPil.from_pretrained(checkpoint)(opened)
        words = tokenizer([*LABELS.values()], padding="max_length", max_length=SIGLIP_LENGTH, return_tensors="pt")
        with torch.inference_mode():
            logits = model(words["input_ids"], torch.tensor(np.array(pixels["pixel_values"]))).logits_per_image
        shares = torch.sigmoid(logits).tolist()
        return {path.name: dict(zip(LABELS, row, strict=True)) for path, row in zip(paths, shares, strict=True)}
    processor = CLIPImageProcessorPil.from_pretrained(checkpoint)
    said: Any = pipeline("zero-shot-image-classification", model=model, tokenizer=tokenizer, image_processor=processor)
    keys = {text: key for key, text in LABELS.items()}
    found = {}
    for path in paths:
        answers = said(str(path), candidate_labels=list(keys), hypothesis_template="{}")
        found[path.name] = {keys[answer["label"]]: answer["score"] for answer in answers}
    return found


def rules(**more: Any) -> dict[str, Any]:
    look = {"name": "look", "score": "zero_shot", "labels": LABELS, "label": "square", "none": "words"}
    return {"rules": [{**look, "keep": ["temple", "words"], **more}]}


@pytest.mark.parametrize("kind", ["float32", "float16"])
def test_probabilities_are_those_of_transformers(
    checkpoint: Path, images: Path, expected: dict[str, dict[str, float]], tmp_path: Path, kind: str
) -> None:
    encoder = {"model": str(checkpoint), "precision": "fp32"}
    spec = job(images, tmp_path / "t.lance", encoder=encoder, table={"vector": kind}, policy=rules(review_above=0.3))
    assert clipflow.run(spec, ray="none").counts["embedded"] == 7
    found = rows(tmp_path / "t.lance")
    for row in found.values():
        wanted = expected[Path(row["source_uri"]).name]
        for column, key in COLUMNS.items():
            assert row[column] == pytest.approx(wanted[key], abs=CLOSE[kind])
        assert row["reasons"] == (["look"] if row["score_look"] > np.float32(0.3) else [])
    # Pictures that all look alike would make this no test.
    assert max(np.ptp([row[column] for row in found.values()]) for column in COLUMNS) > 10 * CLOSE[kind]


def test_scores_do_not_hang_on_the_size_of_batches(checkpoint: Path, images: Path, tmp_path: Path) -> None:
    dim = describe(EncoderSpec(model=str(checkpoint))).dim
    rng = np.random.default_rng(3)
    about = {"activation": "relu", "output": "sigmoid", "checkpoint_fp": _checkpoint_fp(checkpoint)}
    sizes = [(8, dim), (1, 8)]
    weights = {f"{i}.weight": rng.standard_normal(size).astype(np.float32) for i, size in enumerate(sizes)}
    write_head(tmp_path / "h.safetensors", weights | {f"{i}.bias": np.ones(s[0]) for i, s in enumerate(sizes)}, about)
    policy = rules()
    policy["rules"] += [
        {"name": "nice", "score": "head", "weights": str(tmp_path / "h.safetensors")},
        {"name": "sum", "score": "expression", "sql": "score_look + 2 * score_nice"},
    ]
    tables = []
    for size in (1, 3, 32):
        table = tmp_path / f"{size}.lance"
        encoder = {"model": str(checkpoint), "precision": "fp32"}
        spec = job(
            images, table, encoder=encoder, policy=policy, compute={"batch_size": size}, table={"commit_rows": size}
        )
        clipflow.run(spec, ray="none")
        columns = [*COLUMNS, "score_nice", "score_sum"]
        tables.append({key: [row[name] for name in columns] for key, row in rows(table).items()})
    for other in tables[1:]:
        assert other.keys() == tables[0].keys()
        for key, values in other.items():
            assert values == pytest.approx(tables[0][key], abs=1e-5)
    assert all(None not in values for values in tables[0].values())


def test_a_float32_table_s_scores_follow_from_its_rows_exactly(checkpoint: Path, images: Path, tmp_path: Path) -> None:
    encoder = {"model": str(checkpoint), "precision": "fp32"}
    spec = job(images, tmp_path / "t.lance", encoder=encoder, table={"vector": "float32"}, policy=rules())
    clipflow.run(spec, ray="none")
    info = describe(spec.encoder)
    made = prepare(spec.policy, info, text_encoder(spec.encoder, info))
    stored = lance.dataset(str(tmp_path / "t.lance")).to_table()
    vectors = np.array(stored["vector"].to_pylist(), np.float64)
    again = score(
        spec.policy, made, Evidence(stored.drop_columns(["vector"]), vectors, text_encoder(spec.encoder, info))
    )
    for column in COLUMNS:
        assert again[1][column].tolist() == stored[column].to_pylist()


def _checkpoint_fp(folder: Path) -> str:
    return describe(EncoderSpec(model=str(folder))).checkpoint_fp
