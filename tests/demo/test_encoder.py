"""The encoder that ships with the package finds what is drawn, and its folder is what its card says."""

import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoTokenizer, CLIPModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import clipflow.demo
from clipflow.demo.drawings import COLOURS, SHAPES, TEMPLATES, describe, draw
from clipflow.encoders import load_encoder

FOLDER = Path(clipflow.demo.__file__).parent / "encoder"
PAIRS = [(colour, shape) for colour in COLOURS for shape in SHAPES]
Vectors = NDArray[np.float32]


def _drawn(seed: int, rounds: int) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [draw(rng, *pair) for _ in range(rounds) for pair in PAIRS]


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def encoder() -> Any:
    return load_encoder("demo")


@pytest.fixture(scope="module")
def classes(encoder: Any) -> Vectors:
    texts = [describe(template, *pair) for pair in PAIRS for template in TEMPLATES]
    return _unit(encoder.encode_texts(texts).reshape(len(PAIRS), len(TEMPLATES), -1).mean(axis=1))


@pytest.fixture(scope="module")
def drawn(encoder: Any) -> Vectors:
    """Four drawings of every pair, encoded."""
    return np.asarray(encoder.encode_images(_drawn(seed=90211, rounds=4)))


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, dict[str, Any]]:
    # With the loading info it gives two things, which its types do not know.
    both: Any = CLIPModel.from_pretrained(FOLDER, dtype=torch.float32, output_loading_info=True)
    model, info = both
    model.eval()
    return model, info


def test_zero_shot_over_all_pairs(encoder: Any, classes: Vectors) -> None:
    vectors = encoder.encode_images(_drawn(seed=90210, rounds=8))
    assert vectors.dtype == np.float32
    assert vectors.shape == (512, classes.shape[1])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    right = (vectors @ classes.T).argmax(axis=1) == np.arange(512) % len(PAIRS)
    assert right.mean() >= 0.90


@pytest.mark.parametrize("query", ["{colour} {shape}", "a picture of a {colour} {shape}", "the {shape} is {colour}"])
def test_the_first_find_is_right(encoder: Any, drawn: Vectors, query: str) -> None:
    texts = encoder.encode_texts([describe(query, *pair) for pair in PAIRS])
    first = (texts @ drawn.T).argmax(axis=1) % len(PAIRS)
    assert (first == np.arange(len(PAIRS))).mean() >= 0.90


def test_one_word_finds_its_attribute(encoder: Any) -> None:
    similar = encoder.encode_texts([*COLOURS, *SHAPES]) @ encoder.encode_images(_drawn(seed=90212, rounds=4)).T
    truth = np.arange(similar.shape[1]) % len(PAIRS)
    nearest = np.argsort(-similar, axis=1)[:, :16]
    by_colour = truth[nearest[: len(COLOURS)]] // len(SHAPES) == np.arange(len(COLOURS))[:, None]
    by_shape = truth[nearest[len(COLOURS) :]] % len(SHAPES) == np.arange(len(SHAPES))[:, None]
    assert by_colour.mean() >= 0.95
    assert by_shape.mean() >= 0.65


def test_the_folder_loads_without_a_doubt(loaded: tuple[Any, dict[str, Any]]) -> None:
    model, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert model.config.architectures == ["CLIPModel"]
    assert (FOLDER / "model.safetensors").stat().st_size <= 4_000_000


def test_logits_are_cosine_times_scale(loaded: tuple[Any, dict[str, Any]]) -> None:
    model, _ = loaded
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    pixels = CLIPImageProcessorPil.from_pretrained(FOLDER)(_drawn(5, 1)[:8], return_tensors="pt")["pixel_values"]
    texts = tokenizer([describe(TEMPLATES[0], *pair) for pair in PAIRS[:8]], padding=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(pixel_values=pixels, **texts).logits_per_image
        images = torch.nn.functional.normalize(model.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
        words = torch.nn.functional.normalize(model.get_text_features(**texts).pooler_output, dim=-1)
    scale = math.exp(model.logit_scale.item())
    assert 5 < scale <= 100.01
    torch.testing.assert_close(logits, scale * images @ words.T, atol=1e-4, rtol=0)


def test_the_tokenizer_ends_where_the_text_ends(loaded: tuple[Any, dict[str, Any]]) -> None:
    model, _ = loaded
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    end = tokenizer.eos_token_id
    assert end == len(tokenizer) - 1 == model.config.text_config.eos_token_id
    assert tokenizer.model_max_length == model.config.text_config.max_position_embeddings
    # Words that training never met must not turn into an end of text, where reading would stop.
    for text in ("a quiz about jazz, maths & IQ 9!", "été à Zürich", "红色的心 🙂", ""):
        ids = tokenizer(text)["input_ids"]
        assert ids.count(end) == 1
        assert ids[-1] == end


def test_the_card_names_these_very_weights() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    stated = re.search(r"\b[0-9a-f]{64}\b", card)
    assert stated
    assert stated[0] == hashlib.sha256((FOLDER / "model.safetensors").read_bytes()).hexdigest()
