"""Our vectors against those of transformers' own classes on the same checkpoint."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor

from clipflow.decode import decode
from clipflow.encoders import Encoder, describe, encoder_spec, load_encoder, load_preprocess
from clipflow.encoders.geometry import Geometry, read_geometry
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec
from tests.pictures import drawing, files
from tests.tiny_models import CAPTIONS, SIDE, edit_config

Vectors = npt.NDArray[np.float32]
TEXTS = [*CAPTIONS, "A Photo With CAPITALS", "", "one word " * 60]


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    return load_encoder(str(folder), precision="fp32")


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    return [Image.fromarray(decode(data, 10**8).rgb) for _, data in sorted(files().items())]


@pytest.fixture(scope="module")
def reference(folder: Path) -> tuple[Any, Any]:
    return AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder, backend="pil")


def _unit(vectors: torch.Tensor) -> Vectors:
    return np.asarray(vectors / vectors.norm(dim=1, keepdim=True), np.float32)


@torch.inference_mode()
def _image_vectors(reference: tuple[Any, Any], pictures: list[Image.Image]) -> Vectors:
    model, processor = reference
    inputs = processor.image_processor(pictures, return_tensors="pt")
    return _unit(model.get_image_features(**inputs).pooler_output)


def _tokens(reference: tuple[Any, Any], encoder: Encoder) -> Any:
    text = encoder.info.text
    made = reference[1].tokenizer(
        TEXTS, padding=text["padding"], truncation=True, max_length=text["max_length"], return_tensors="pt"
    )
    if encoder.info.family == "siglip":
        made.pop("attention_mask", None)
    return made


def test_image_vectors_are_those_of_transformers(
    encoder: Encoder, reference: tuple[Any, Any], pictures: list[Image.Image]
) -> None:
    ours, theirs = encoder.encode_images(pictures), _image_vectors(reference, pictures)
    assert ours.dtype == np.float32
    assert ours.shape == (len(pictures), encoder.info.dim)
    assert (ours * theirs).sum(axis=1).min() >= 0.9999
    assert np.linalg.norm(ours, axis=1) == pytest.approx(1, abs=1e-6)


def test_bf16_vectors_are_close_and_texts_stay_fp32(
    folder: Path, encoder: Encoder, reference: tuple[Any, Any], pictures: list[Image.Image]
) -> None:
    half = load_encoder(str(folder), precision="bf16")
    assert half.precision == "bf16"
    assert (half.encode_images(pictures) * _image_vectors(reference, pictures)).sum(axis=1).min() >= 0.999
    assert np.array_equal(half.encode_texts(TEXTS), encoder.encode_texts(TEXTS))


@torch.inference_mode()
def test_texts_and_tokens_are_those_of_transformers(encoder: Encoder, reference: tuple[Any, Any]) -> None:
    inputs = _tokens(reference, encoder)
    assert torch.equal(encoder.tokens(TEXTS)["input_ids"], inputs["input_ids"])  # type: ignore[attr-defined]
    theirs = _unit(reference[0].get_text_features(**inputs).pooler_output)
    assert (encoder.encode_texts(TEXTS) * theirs).sum(axis=1).min() >= 0.99999


@torch.inference_mode()
def test_cosines_scaled_by_the_card_are_the_models_logits(
    encoder: Encoder, reference: tuple[Any, Any], pictures: list[Image.Image]
) -> None:
    model, processor = reference
    # Already of the model's size, so that both sides see the very same pixels.
    pictures = [picture.resize((SIDE, SIDE)) for picture in pictures]
    pixels = processor.image_processor(pictures, return_tensors="pt")
    logits = model(**pixels, **_tokens(reference, encoder)).logits_per_image.numpy()
    info = encoder.info
    assert info.logit_scale is not None
    images = np.stack([encoder.preprocess(np.asarray(picture)) for picture in pictures])
    cosines = encoder.encode_pixels(images) @ encoder.encode_texts(TEXTS).T
    ours = cosines * np.exp(info.logit_scale) + (info.logit_bias or 0.0)
    assert np.abs(ours - logits).max() < 1e-5 * np.exp(info.logit_scale)


def test_batches_do_not_change_vectors(encoder: Encoder, pictures: list[Image.Image]) -> None:
    together = encoder.encode_images(pictures)
    alone = np.concatenate([encoder.encode_images([picture]) for picture in pictures])
    assert np.abs(together - alone).max() < 1e-5
    texts = np.concatenate([encoder.encode_texts([text]) for text in TEXTS])
    assert np.abs(encoder.encode_texts(TEXTS) - texts).max() < 1e-5


def test_nothing_in_nothing_out(encoder: Encoder) -> None:
    for made in (
        encoder.encode_images([]),
        encoder.encode_texts([]),
        encoder.encode_pixels(np.empty((0, 32, 32, 3), np.uint8)),
    ):
        assert made.shape == (0, encoder.info.dim)
        assert made.dtype == np.float32


def test_pillow_images_follow_the_policy_of_decode(encoder: Encoder) -> None:
    flat = Image.new("RGBA", drawing().size, "white")
    flat.alpha_composite(drawing())
    assert np.allclose(encoder.encode_images([drawing()]), encoder.encode_images([flat.convert("RGB")]), atol=1e-6)


def test_workers_preprocess_without_weights(folder: Path, encoder: Encoder, pictures: list[Image.Image]) -> None:
    preprocess = load_preprocess(describe(str(folder)))
    rgb = np.asarray(pictures[0])
    assert np.array_equal(preprocess(rgb), encoder.preprocess(rgb))


def test_weights_that_are_not_finite_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = _copy(folder, tmp_path)
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if name.endswith("patch_embedding.weight"))
    weights[name] = torch.full_like(weights[name], float("nan"))
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="not finite"):
        load_encoder(str(broken), precision="fp32")


def test_description_agrees_with_the_loaded_model(encoder: Encoder, reference: tuple[Any, Any]) -> None:
    info = encoder.info
    assert info.logit_scale == pytest.approx(reference[0].logit_scale.item())
    if info.family == "siglip":
        assert info.logit_bias == pytest.approx(reference[0].logit_bias.item())
        assert info.score == "sigmoid"
    else:
        assert info.logit_bias is None
        assert info.score == "softmax"
    card = encoder.info.card(precision="fp32", runtime={"torch": "x"})
    assert json.loads(json.dumps(card))["encoder_id"] == info.encoder_id
    assert {"folder", "text", "preprocess", "precision", "runtime", "commit", "checkpoint_fp"} <= card.keys()


def test_describing_imports_neither_torch_nor_transformers(clip_folder: Path, siglip_folder: Path) -> None:
    code = (
        "import sys, clipflow.encoders as e\n"
        "for folder in sys.argv[1:]:\n"
        "    e.describe(folder)\n"
        "    assert not {'torch', 'transformers'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(clip_folder), str(siglip_folder)], check=True)


def _copy(folder: Path, where: Path) -> Path:
    return Path(shutil.copytree(folder, where / "copy"))


def test_weights_of_other_names_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = _copy(folder, tmp_path)
    weights = load_file(broken / "model.safetensors")
    renamed = {name.replace("layers.1.", "layers.7."): value for name, value in weights.items()}
    save_file(renamed, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="lack"):
        load_encoder(str(broken))


def test_weights_of_other_shapes_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = _copy(folder, tmp_path)
    weights = load_file(broken / "model.safetensors")
    name = next(name for name in weights if name.endswith("vision_model.post_layernorm.weight"))
    weights[name] = torch.ones(7)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match="post_layernorm"):
        load_encoder(str(broken))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architectures": ["EvaCLIPModel"]}, "trust_remote_code"),
        ({"auto_map": {"AutoModel": "modeling.EvaCLIPModel"}}, "trust_remote_code"),
        ({"model_type": "blip"}, "chinese_clip, clip, dinov2"),
    ],
)
def test_other_architectures_are_refused(folder: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    broken = _copy(folder, tmp_path)
    edit_config(broken, **changes)
    with pytest.raises(EncoderError, match=said):
        describe(str(broken))


def test_pickles_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = _copy(folder, tmp_path)
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="pickle"):
        describe(str(broken))


def test_damaged_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    broken = _copy(folder, tmp_path)
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(EncoderError, match="not a whole safetensors file"):
        describe(str(broken))


def test_fp16_is_refused_on_a_cpu(clip_folder: Path) -> None:
    with pytest.raises(EncoderError, match="GPU"):
        load_encoder(str(clip_folder), precision="fp16", device="cpu")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "shards"])
def test_pickles_are_read_as_tensors_alone_where_the_job_allows(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    old = _copy(clip_folder, tmp_path)
    weights = load_file(old / "model.safetensors")
    (old / "model.safetensors").unlink()
    if name == "shards":
        names = sorted(weights)
        shards = {"pytorch_model-1-of-2.bin": names[::2], "pytorch_model-2-of-2.bin": names[1::2]}
        for shard, chosen in shards.items():
            torch.save({one: weights[one] for one in chosen}, old / shard)
        index = {"weight_map": {one: shard for shard, chosen in shards.items() for one in chosen}}
        (old / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    else:
        torch.save(weights, old / name)
    spec = EncoderSpec(model=str(old), allow_pickle=True)
    assert describe(spec).encoder_id == describe(str(clip_folder)).encoder_id
    ours = load_encoder(spec, precision="fp32").encode_texts(["a cup"])
    # Weights that lie elsewhere in their file are added up in another order on some machines.
    assert np.allclose(ours, load_encoder(str(clip_folder), precision="fp32").encode_texts(["a cup"]), atol=1e-6)
    assert describe(encoder_spec(describe(spec))).encoder_id == describe(spec).encoder_id


def test_a_pickle_that_holds_code_is_refused_and_not_run(
    clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    old = _copy(clip_folder, tmp_path)
    (old / "model.safetensors").unlink()
    torch.save({"weight": _Trap(tmp_path / "ran")}, old / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="tensors alone"):
        describe(EncoderSpec(model=str(old), allow_pickle=True))
    assert not (tmp_path / "ran").exists()


class _Trap:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_an_encoder_that_computes_otherwise_than_the_library_is_refused(
    clip_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = read_geometry

    def wrong(config: dict[str, Any], family: str) -> Geometry:
        return real({**config, "resample": 0, "image_mean": [0.1, 0.9, 0.5]}, family)

    monkeypatch.setattr("clipflow.encoders.transformers_files.read_geometry", wrong)
    with pytest.raises(EncoderError, match="transformers itself makes"):
        load_encoder(str(clip_folder), precision="fp32")
