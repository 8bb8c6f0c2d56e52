"""Our vectors against open_clip's documented usage on the same checkpoint, image by image and text by text."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import pytest
import torch
from PIL import Image

from clipflow.decode import decode
from clipflow.encoders import Encoder, EncoderInfo, describe, load_encoder, load_preprocess
from clipflow.encoders.open_clip_geometry import open_clip_geometry
from clipflow.errors import EncoderError
from clipflow.spec import ComputeSpec
from tests.pictures import drawing, files

Vectors = npt.NDArray[np.float32]
TEXTS = [
    "a photo of a red square",
    "",
    " ",
    "A Photo With CAPITALS, punctuation; and_underscores!",
    "word " * 2000,
    "x" * 10_000,
    "\N{GRINNING FACE} \N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET} in space",
    "\u5bfa\u5e99\u5728\u591a\u4e91\u7684\u5929\u7a7a\u4e0b",
    "e\u0301te\u0301 a\u0300 la plage\u0332",
    "<start_of_text> and <end_of_text>",
    "&amp;lt; html &eacute;",
    "\0 control \u202e turned",
]


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(f"open-clip:local-dir:{folder}", precision="fp32")


@pytest.fixture(scope="module")
def reference(folder: Path) -> tuple[Any, Any, Any]:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    return model.eval(), preprocess, open_clip.get_tokenizer(f"local-dir:{folder}")


@pytest.fixture(scope="module")
def pictures(folder: Path) -> dict[str, Image.Image]:
    """What every model sees of awkward files, and pictures of awkward sizes."""
    made = {name: Image.fromarray(decode(data, 10**8).rgb) for name, data in files().items()}
    # open_clip's transform rounds the shorter side of a line to nothing where it fits it into a box, and fails.
    lines = {} if "longest" in folder.name else {"500x1": (500, 1), "1x500": (1, 500), "1500x17": (1500, 17)}
    lines |= {"640x480": (640, 480)}
    sizes = {
        "1x1": (1, 1),
        "33x32": (33, 32),
        "47x33": (47, 33),
        "301x200": (301, 200),
        "97x256": (97, 256),
        "640x480": (640, 480),
        **lines,
    }
    chance = np.random.default_rng(3)
    for name, (width, height) in sizes.items():
        made[name] = Image.fromarray(chance.integers(0, 256, (height, width, 3), np.uint8))
    return made


def _unit(vectors: torch.Tensor) -> Vectors:
    return np.asarray(torch.nn.functional.normalize(vectors, dim=-1), np.float32)


def test_pixels_are_those_of_open_clip(
    encoder: Encoder, reference: tuple[Any, Any, Any], pictures: dict[str, Image.Image]
) -> None:
    mean, std = (torch.tensor(encoder.info.preprocess[key]).view(3, 1, 1) for key in ("mean", "std"))
    for name, picture in pictures.items():
        theirs = (reference[1](picture) * std + mean).mul(255).round().permute(1, 2, 0).numpy()
        ours = encoder.preprocess(np.asarray(picture))
        assert ours.shape == theirs.shape, name
        # Of a line only the middle is computed, at a place that Pillow keeps in single precision.
        assert np.array_equal(ours, theirs) or ("1500x17" in name and np.abs(ours - theirs).max() <= 1), name


@torch.inference_mode()
def test_image_vectors_are_those_of_open_clip(
    encoder: Encoder,
    reference: tuple[Any, Any, Any],
    pictures: dict[str, Image.Image],
) -> None:
    model, preprocess, _ = reference
    cosines = []
    for name, picture in pictures.items():
        theirs = _unit(model.encode_image(preprocess(picture).unsqueeze(0)))
        cosines.append((float((encoder.encode_images([picture]) * theirs).sum()), name))
    print("lowest cosine", f"{min(cosines)} of {len(cosines)}")
    assert min(cosines)[0] >= 0.99999


@torch.inference_mode()
def test_tokens_and_texts_are_those_of_open_clip(encoder: Encoder, reference: tuple[Any, Any, Any]) -> None:
    model, _, tokenizer = reference
    assert torch.equal(encoder.tokens(TEXTS), tokenizer(TEXTS))  # type: ignore[attr-defined]
    theirs = np.concatenate([_unit(model.encode_text(tokenizer([text]))) for text in TEXTS])
    cosines = (encoder.encode_texts(TEXTS) * theirs).sum(axis=1)
    print("lowest cosine", float(cosines.min()))
    assert cosines.min() >= 0.99999


@torch.inference_mode()
def test_cosines_scaled_by_the_card_are_the_models_logits(
    encoder: Encoder, reference: tuple[Any, Any, Any], pictures: dict[str, Image.Image]
) -> None:
    model, preprocess, tokenizer = reference
    height, width = encoder.preprocess(np.zeros((9, 9, 3), np.uint8)).shape[:2]
    sized = [pictures[name].resize((width, height)) for name in ("jpeg_cmyk", "png_rgba", "png_grey_16")]
    inputs = torch.stack([preprocess(picture) for picture in sized])
    logits = model.get_logits(inputs, tokenizer(TEXTS))[0].numpy()
    info = encoder.info
    assert info.logit_scale is not None
    assert info.score == ("softmax" if info.logit_bias is None else "sigmoid")
    ours = encoder.encode_images(sized) @ encoder.encode_texts(TEXTS).T * np.exp(info.logit_scale)
    assert np.abs(ours + (info.logit_bias or 0.0) - logits).max() < 1e-4 * np.exp(info.logit_scale)


def test_images_spread(encoder: Encoder, pictures: dict[str, Image.Image]) -> None:
    # A test that all vectors are alike in would see no error.
    vectors = encoder.encode_images([pictures["png_rgba"], pictures["jpeg_baseline"], pictures["33x32"]])
    assert (vectors @ vectors.T).min() < 0.98


@pytest.mark.parametrize("compute", [None, ComputeSpec()], ids=["plain", "packed"])
def test_bf16_is_close_and_texts_stay_fp32(folder: Path, encoder: Encoder, compute: ComputeSpec | None) -> None:
    half = load_encoder(f"open-clip:local-dir:{folder}", precision="bf16", compute=compute)
    shown = [drawing(), Image.fromarray(decode(files()["jpeg_baseline"], 10**8).rgb)]
    cosines = (half.encode_images(shown) * encoder.encode_images(shown)).sum(axis=1)
    print("lowest cosine", float(cosines.min()))
    assert cosines.min() >= 0.99
    assert np.array_equal(half.encode_texts(TEXTS), encoder.encode_texts(TEXTS))


def test_without_texts_the_same_vectors(folder: Path, encoder: Encoder, pictures: dict[str, Image.Image]) -> None:
    alone = load_encoder(f"open-clip:local-dir:{folder}", precision="fp32", texts=False)
    shown = list(pictures.values())[:5]
    assert np.array_equal(alone.encode_images(shown), encoder.encode_images(shown))
    assert alone.info == encoder.info
    with pytest.raises(EncoderError, match="text side"):
        alone.encode_texts(["a cup"])
    left = [name for name, _ in alone.model.named_parameters()]  # type: ignore[attr-defined]
    assert {name for name in left if not name.startswith("visual.")} <= {"logit_scale", "logit_bias"}


def test_preprocessing_that_is_not_open_clips_is_refused_at_load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = open_clip_geometry
    monkeypatch.setattr(
        "clipflow.encoders.open_clip_files.open_clip_geometry",
        lambda config, side: real({**config, "mean": [0.1, 0.9, 0.5]}, side),
    )
    with pytest.raises(EncoderError, match=r"vector of a picture .* open_clip itself makes"):
        load_encoder(f"open-clip:local-dir:{folder}", precision="fp32")


def test_tokens_that_are_not_open_clips_are_refused_at_load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(info: EncoderInfo, _: object) -> Any:
        own = open_clip.SimpleTokenizer(context_length=info.text["max_length"])
        return lambda texts: own([text[::-1] for text in texts])

    monkeypatch.setattr("clipflow.encoders.open_clip_towers._load_tokenizer", wrong)
    with pytest.raises(EncoderError, match=r"vector of a text .* open_clip itself makes"):
        load_encoder(f"open-clip:local-dir:{folder}", precision="fp32")


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    for made in (encoder.encode_images([]), encoder.encode_texts([]), encoder.encode_pixels([])):
        assert made.shape == (0, encoder.info.dim)


def test_workers_preprocess_without_weights(folder: Path, encoder: Encoder) -> None:
    rgb = decode(files()["png_rgb"], 10**8).rgb
    assert np.array_equal(load_preprocess(describe(f"open-clip:local-dir:{folder}"))(rgb), encoder.preprocess(rgb))


def test_a_line_is_fitted_into_a_box(folder: Path, encoder: Encoder) -> None:
    made = encoder.encode_images([Image.new("RGB", (500, 1), "red"), Image.new("RGB", (1, 500), "red")])
    assert np.isfinite(made).all()


def test_openvino_gives_the_same_vectors(
    folder: Path,
    encoder: Encoder,
    pictures: dict[str, Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    openvino = load_encoder(
        f"open-clip:local-dir:{folder}", precision="fp32", texts=False, compute=ComputeSpec(backend="openvino")
    )
    shown = list(pictures.values())
    cosines = (encoder.encode_images(shown).astype(np.float64) * openvino.encode_images(shown)).sum(axis=1)
    print("lowest cosine", cosines.min())
    assert cosines.min() >= 0.9999
