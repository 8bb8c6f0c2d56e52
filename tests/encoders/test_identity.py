"""Where models come from, and what makes two of them the same."""

import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from clipflow.encoders import describe, load_encoder
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec
from tests.tiny_models import edit_config, hub_layout, tiny_clip, tiny_siglip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache without a network. The library reads its settings when it is imported, hence its constants."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_a_hub_id_resolves_to_its_commit(home: Path, clip_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    commit = hub_layout(home, "acme/tiny", clip_folder)
    with caplog.at_level(logging.WARNING):
        info = describe("acme/tiny")
    assert info.commit == commit
    assert Path(info.folder).name == commit
    assert commit in caplog.text
    caplog.clear()
    pinned = describe(EncoderSpec(model="acme/tiny", revision=commit))
    assert not caplog.text
    assert pinned.encoder_id == info.encoder_id == describe(str(clip_folder)).encoder_id
    assert load_encoder("acme/tiny", precision="fp32").encode_texts(["a cup"]).shape == (1, info.dim)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("acme/absent", "hub cannot be reached"),
        ("dem", "demo"),
        ("./absent", "no folder"),
        ("/absent/folder", "no folder"),
        ("no such model", "hub id"),
        ("https://hub/acme/tiny", "hub id"),
    ],
)
def test_unknown_models_are_told_in_a_sentence(home: Path, model: str, said: str) -> None:
    with pytest.raises(EncoderError, match=said) as caught:
        describe(model)
    assert caught.value.mend
    assert "\n" not in str(caught.value)


def test_a_folder_has_no_revision(clip_folder: Path) -> None:
    with pytest.raises(EncoderError, match="revision"):
        describe(EncoderSpec(model=str(clip_folder), revision="main"))


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"config\.json"):
        describe(str(tmp_path))


def test_shards_are_the_same_checkpoint(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "whole")
    before = describe(str(folder))
    model = CLIPModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="60KB")
    assert len(list(folder.glob("model-*-of-*.safetensors"))) > 1
    assert describe(str(folder)).encoder_id == before.encoder_id


def test_stored_halves_are_another_checkpoint(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "tiny")
    before = describe(str(folder))
    weights = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    after = describe(str(folder))
    assert after.checkpoint_fp != before.checkpoint_fp
    assert after.preprocess_fp == before.preprocess_fp
    assert after.logit_scale == pytest.approx(before.logit_scale, abs=2e-3)
    assert load_encoder(str(folder), precision="fp32").encode_texts(["x"]).dtype == "float32"


def test_bfloat16_scales_are_read(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "tiny")
    weights = {name: value.bfloat16() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert describe(str(folder)).logit_scale == float(weights["logit_scale"])


def test_only_what_is_computed_counts(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "tiny")
    before = describe(str(folder))
    edit_config(folder, transformers_version="9", _name_or_path="elsewhere", dtype="float16")
    assert describe(str(folder)).encoder_id == before.encoder_id
    edit_config(folder, "preprocessor_config.json", image_processor_type="CLIPImageProcessor")
    assert describe(str(folder)).encoder_id == before.encoder_id
    edit_config(folder, "preprocessor_config.json", resample=2)
    bilinear = describe(str(folder))
    assert bilinear.checkpoint_fp == before.checkpoint_fp
    assert bilinear.preprocess_fp != before.preprocess_fp


def test_other_weights_are_another_encoder(tmp_path: Path, clip_folder: Path) -> None:
    torch.manual_seed(1)
    assert describe(str(tiny_clip(tmp_path / "other", seed=5))).encoder_id != describe(str(clip_folder)).encoder_id


def test_an_image_processor_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path / "tiny")
    edit_config(folder, "preprocessor_config.json", crop_size={"height": 64, "width": 64})
    with pytest.raises(EncoderError, match="mixed"):
        describe(str(folder))


def test_a_gemma_tokenizer_gets_lower_case(tmp_path: Path) -> None:
    folder = tiny_siglip(tmp_path / "tiny")
    assert not describe(str(folder)).text["lower_case"]
    edit_config(folder, "tokenizer_config.json", tokenizer_class="GemmaTokenizer")
    assert describe(str(folder)).text["lower_case"]
