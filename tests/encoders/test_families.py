"""Every family that transformers serves: our vectors against its documented usage, picture by picture."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipflow.encoders import Encoder, describe, load_encoder
from clipflow.encoders.families import FAMILIES
from clipflow.encoders.packed_layers import PackedLinear
from clipflow.encoders.torch_towers import TorchEncoder
from clipflow.errors import EncoderError
from clipflow.spec import ComputeSpec, EncoderSpec
from tests.families import ALL, Families, awkward_pictures
from tests.library import Library
from tests.tiny_models import CAPTIONS

# With the main job's tests, which hold the same checkpoints to the same vectors of the library.
pytestmark = pytest.mark.xdist_group("families")
TEXTS = [
    *CAPTIONS,
    "A Photo With CAPITALS",
    "",
    "word " * 2000,
    "😀 a cat 😀",
    "照片 猫",
    "e\u0301te\u0301",
]


@pytest.fixture(scope="module", params=sorted(ALL))
def family(request: pytest.FixtureRequest, families: Families) -> tuple[str, Path]:
    return request.param, families.folder(request.param)


@pytest.fixture(scope="module")
def encoder(family: tuple[str, Path], families: Families) -> Encoder:
    return families.encoder(family[0])


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return list(awkward_pictures().values())


@pytest.fixture(scope="module")
def library(family: tuple[str, Path], families: Families) -> Library:
    return families.library(family[0])


def test_every_picture_has_the_vector_of_the_library(
    family: tuple[str, Path], families: Families, encoder: Encoder, pictures: list[Image.Image]
) -> None:
    theirs = families.vectors(family[0])
    ours = encoder.encode_images(pictures)
    assert ours.shape == (len(pictures), encoder.info.dim)
    cosines = (ours * theirs).sum(axis=1)
    assert cosines.min() >= 0.99999, cosines
    # The vectors tell pictures apart, else agreement would say nothing.
    assert np.median(ours @ ours.T) < 0.98


def test_every_text_has_the_vector_of_the_library(family: tuple[str, Path], library: Library, encoder: Encoder) -> None:
    if not FAMILIES[family[0]].has_text:
        assert not encoder.info.has_text
        with pytest.raises(EncoderError, match="no text side"):
            encoder.encode_texts(["a cup"])
        return
    assert (encoder.encode_texts(TEXTS) * library.texts(TEXTS)).sum(axis=1).min() >= 0.99999


def test_the_card_says_how_a_cosine_becomes_a_score(
    family: tuple[str, Path], library: Library, encoder: Encoder
) -> None:
    info, model = encoder.info, library.model
    assert info.family == family[0]
    assert info.score == FAMILIES[info.family].score
    if info.score == "cosine":
        assert info.logit_scale is None
        return
    assert info.logit_scale == pytest.approx(model.logit_scale.item())
    assert info.logit_bias == (pytest.approx(model.logit_bias.item()) if info.score == "sigmoid" else None)


def test_without_texts_the_same_vectors(
    family: tuple[str, Path], encoder: Encoder, pictures: list[Image.Image]
) -> None:
    alone = load_encoder(str(family[1]), precision="fp32", texts=False)
    assert np.allclose(alone.encode_images(pictures[:5]), encoder.encode_images(pictures[:5]), atol=1e-6)
    assert alone.info == encoder.info
    with pytest.raises(EncoderError, match="text side"):
        alone.encode_texts(["a cup"])


def test_bf16_keeps_every_vector(family: tuple[str, Path], encoder: Encoder, pictures: list[Image.Image]) -> None:
    half = load_encoder(str(family[1]), precision="bf16")
    assert half.precision == "bf16"
    assert (half.encode_images(pictures) * encoder.encode_images(pictures)).sum(axis=1).min() >= 0.999


def test_packed_layers_keep_every_vector(
    family: tuple[str, Path], encoder: Encoder, pictures: list[Image.Image]
) -> None:
    packed = load_encoder(str(family[1]), precision="bf16", compute=ComputeSpec())
    assert isinstance(packed, TorchEncoder)
    layers = list(packed.model.modules())
    assert any(isinstance(layer, PackedLinear) for layer in layers)
    assert not any(type(layer) is torch.nn.Linear and layer.weight.dtype == torch.bfloat16 for layer in layers)
    assert (packed.encode_images(pictures) * encoder.encode_images(pictures)).sum(axis=1).min() >= 0.999


def test_leading_dimensions_are_cut_then_normalised(
    family: tuple[str, Path], encoder: Encoder, pictures: list[Image.Image]
) -> None:
    spec = EncoderSpec(model=str(family[1]), truncate_dim=8)
    short = load_encoder(spec, precision="fp32")
    whole = encoder.encode_images(pictures[:4])[:, :8]
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    assert np.allclose(short.encode_images(pictures[:4]), expected, atol=1e-5)
    if short.info.has_text:
        assert short.encode_texts(["a cup"]).shape == (1, 8)
    assert short.info.dim == 8
    assert short.info.checkpoint_fp != encoder.info.checkpoint_fp
    with pytest.raises(EncoderError, match="truncate_dim"):
        describe(spec.model_copy(update={"truncate_dim": 1000}))
