"""Where open_clip's models come from, and what is refused instead of becoming random weights."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from clipflow.encoders import describe, load_encoder
from clipflow.encoders.open_clip_checkpoint import find_checkpoint
from clipflow.encoders.pickled_weights import read_pickled
from clipflow.encoders.registry import find_loader
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec
from tests.open_clip.tiny import built, tiny
from tests.tiny_models import edit_config, hub_layout, tiny_siglip

SAFE = "open_clip_model.safetensors"
GREY = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3), np.uint8)
State = dict[str, torch.Tensor]


@pytest.fixture
def folder(tmp_path: Path, resnet: Path) -> Path:
    """A copy that a test may spoil."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in resnet.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, resnet: Path) -> str:
    """The tiny model's architecture under a name, as open_clip has RN50-quickgelu."""
    config = json.loads((resnet / "open_clip_config.json").read_text())["model_cfg"]
    configs = tmp_path / "configs"
    configs.mkdir()
    (configs / "RN-tiny-quickgelu.json").write_text(json.dumps(config))
    (configs / "RN-tiny.json").write_text(json.dumps({**config, "quick_gelu": False}))
    monkeypatch.setattr("clipflow.encoders.open_clip_checkpoint._configs", lambda: configs)
    return "RN-tiny-quickgelu"


def local(folder: Path) -> str:
    return f"open-clip:local-dir:{folder}"


def spoil(folder: Path, change: Callable[[State], Any]) -> None:
    weights = load_file(folder / SAFE)
    change(weights)
    save_file(weights, folder / SAFE)


def archive(path: Path, kind: str = "resnet") -> Any:
    """A TorchScript archive in halves, with the numbers and the masks that OpenAI's hold; the model it was made of."""
    torch.manual_seed(0)
    model = built(kind)
    image, text = torch.zeros(1, 3, 64, 64), torch.zeros(1, 24, dtype=torch.int64)
    model.register_buffer("input_resolution", torch.tensor(64))
    # torch types this function's neighbours only.
    trace: Any = torch.jit.trace_module
    scripted = trace(model, {"encode_image": image, "encode_text": text}, check_trace=False)
    scripted.half().save(str(path))
    return model


@pytest.mark.parametrize("spelling", ["prefix", "loader", "plain"])
def test_a_folder_in_three_spellings(resnet: Path, spelling: str) -> None:
    spec = {
        "prefix": EncoderSpec(model=local(resnet)),
        "loader": EncoderSpec(model=f"local-dir:{resnet}", loader="open_clip"),
        "plain": EncoderSpec(model=str(resnet), loader="open-clip"),
    }[spelling]
    info = describe(spec)
    assert info.loader == "open-clip"
    assert info.encoder_id == describe(local(resnet)).encoder_id
    assert load_encoder(spec, precision="fp32").encode_pixels(GREY).shape == (2, 24)


def test_the_hub_by_its_commit(tmp_path: Path, resnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    commit = hub_layout(tmp_path, "acme/tiny", resnet)
    info = describe(EncoderSpec(model="open-clip:hf-hub:acme/tiny", revision=commit))
    assert info.commit == commit
    assert info.encoder_id == describe(local(resnet)).encoder_id
    assert load_encoder("open-clip:hf-hub:acme/tiny", precision="fp32").encode_texts(["x"]).shape == (1, 24)


def test_pickles_of_the_hub(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    torch.save(load_file(folder / SAFE), folder / "open_clip_pytorch_model.bin")
    # What transformers would load, which open_clip cannot.
    (folder / SAFE).rename(folder / "model.safetensors")
    commit = hub_layout(tmp_path, "acme/tiny", folder)
    model = "open-clip:hf-hub:acme/tiny"
    with pytest.raises(EncoderError, match="is a pickle"):
        describe(EncoderSpec(model=model, revision=commit))
    encoder = load_encoder(EncoderSpec(model=model, revision=commit, allow_pickle=True), precision="fp32")
    assert encoder.encode_texts(["x"]).shape == (1, 24)


def test_an_architecture_and_a_file(resnet: Path, quick: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(resnet)
    named = load_encoder(f"open-clip:{quick}:{SAFE}", precision="fp32")
    whole = load_encoder(local(resnet), precision="fp32")
    assert named.info.encoder_id == whole.info.encoder_id
    assert np.array_equal(named.encode_pixels(GREY), whole.encode_pixels(GREY))


def test_published_preprocessing_goes_with_the_architecture(resnet: Path) -> None:
    file = resnet / SAFE
    assert describe(f"open-clip:MobileCLIP-S1:{file}").preprocess["std"] == (1.0, 1.0, 1.0)
    assert describe(f"open-clip:RN50-quickgelu:{file}").preprocess["std"][0] == pytest.approx(0.26862954)
    assert find_checkpoint(f"ViT-L-14-CLIPA:{file}", None, False).preprocess_cfg["resize_mode"] == "squash"
    assert find_checkpoint(f"ViT-L-14:{file}", None, False).preprocess_cfg == {}, "its weights differ in this"


def test_a_tokenizer_of_another_model(tmp_path: Path, resnet: Path) -> None:
    with pytest.raises(EncoderError, match="google-bert/bert-base-uncased is not in the local cache"):
        describe(f"open-clip:ViT-L-14-CLIPA:{resnet / SAFE}")


def test_a_tokenizer_in_the_folder(folder: Path, tmp_path: Path) -> None:
    siglip = tiny_siglip(tmp_path / "siglip")
    for file in (siglip / "spiece.model", *siglip.glob("*token*")):
        (folder / file.name).write_bytes(file.read_bytes())
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    options = {"clean": "canonicalize"}
    config["model_cfg"]["text_cfg"] |= {"hf_tokenizer_name": "acme/elsewhere", "tokenizer_kwargs": options}
    path.write_text(json.dumps(config))
    encoder = load_encoder(local(folder), precision="fp32")
    texts = ["A cup, of COFFEE", "", "a_cup " * 100, "\N{GRINNING FACE}"]
    theirs = open_clip.get_tokenizer(f"local-dir:{folder}")
    assert torch.equal(encoder.tokens(texts), theirs(texts))  # type: ignore[attr-defined]
    edit_config(folder, "tokenizer_config.json", eos_token="x")
    with pytest.raises(EncoderError, match="no longer the one"):
        find_loader("open-clip").load(encoder.info, "fp32", "cpu")


def test_leading_dimensions_are_cut_then_normalised(resnet: Path) -> None:
    whole = load_encoder(local(resnet), precision="fp32")
    short = load_encoder(EncoderSpec(model=local(resnet), truncate_dim=8), precision="fp32")
    cut = whole.encode_pixels(GREY)[:, :8]
    assert np.allclose(short.encode_pixels(GREY), cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)
    assert short.info.checkpoint_fp != whole.info.checkpoint_fp
    with pytest.raises(EncoderError, match="24 dimensions"):
        describe(EncoderSpec(model=local(resnet), truncate_dim=25))


def test_described_without_torch(resnet: Path) -> None:
    import subprocess
    import sys

    code = "import sys; from clipflow.encoders import describe; describe(sys.argv[1]); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, local(resnet)], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("RN50-quickgelu", "no weights are named"),
        ("RN50-quickgelu:openai", "no file openai"),
        ("RN5:/weights.pt", "no architecture 'RN5'.*RN50"),
        ("local-dir:/absent", "no folder"),
        ("hf-hub:acme/absent", "hub cannot be reached"),
        ("hf-hub:nonsense", "names no model"),
    ],
)
def test_unknown_models_are_told_in_a_sentence(model: str, said: str) -> None:
    with pytest.raises(EncoderError, match=said) as caught:
        describe(f"open-clip:{model}")
    assert caught.value.mend


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weights: weights.pop("visual.conv1.weight"), "lack visual.conv1.weight"),
        (lambda weights: weights.pop("logit_scale"), "lack logit_scale"),
        (lambda weights: weights.update({"visual.more": torch.zeros(3)}), "no place for visual.more"),
        (lambda weights: weights.update({"ln_final.bias": torch.zeros(3)}), "do not fit ln_final.bias"),
        (lambda weights: weights["visual.conv1.weight"].view(-1)[5:6].fill_(float("nan")), "not finite"),
        (lambda weights: weights["ln_final.weight"][:1].fill_(float("inf")), "not finite"),
    ],
)
def test_weights_that_do_not_match_are_refused(folder: Path, change: Callable[[State], Any], said: str) -> None:
    spoil(folder, change)
    with pytest.raises(EncoderError, match=said):
        load_encoder(local(folder), precision="fp32")


def test_a_half_written_file_is_refused(folder: Path) -> None:
    path = folder / SAFE
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(EncoderError, match="not a whole safetensors file"):
        describe(local(folder))


def test_a_folder_without_weights_is_refused(folder: Path) -> None:
    (folder / SAFE).unlink()
    with pytest.raises(EncoderError, match="holds no weights"):
        describe(local(folder))


def test_a_model_with_a_bias_needs_one(tmp_path: Path) -> None:
    # open_clip itself puts a zero in its place.
    folder = tiny(tmp_path / "tiny", "vit_squash_bias")
    spoil(folder, lambda weights: weights.pop("logit_bias"))
    with pytest.raises(EncoderError, match="lack logit_bias"):
        load_encoder(local(folder), precision="fp32")


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("text_cfg", "tokenizer_kwargs", {"trust_remote_code": True}, "asks for code"),
        ("text_cfg", "tokenizer_kwargs", {"reduction_mask": "random"}, "by chance"),
        ("vision_cfg", "timm_model_name", "hf-hub:acme/x", "asks for code"),
    ],
)
def test_configurations_that_reach_out_are_refused(folder: Path, part: str, key: str, value: Any, said: str) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"][part][key] = value
    path.write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=said):
        describe(local(folder))


def test_a_configuration_that_open_clip_cannot_build(folder: Path) -> None:
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["vision_cfg"]["wings"] = 2
    path.write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="wings"):
        load_encoder(local(folder), precision="fp32")


@pytest.mark.parametrize("nested", [False, True])
def test_pickles_only_where_they_are_allowed(folder: Path, resnet: Path, nested: bool) -> None:
    weights = load_file(folder / SAFE)
    whole = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in weights.items()}}
    torch.save(whole if nested else weights, folder / "open_clip_pytorch_model.bin")
    (folder / SAFE).unlink()
    with pytest.raises(EncoderError, match="is a pickle") as caught:
        describe(local(folder))
    assert "allow_pickle" in caught.value.mend
    spec = EncoderSpec(model=local(folder), allow_pickle=True)
    encoder, safe = load_encoder(spec, precision="fp32"), load_encoder(local(resnet), precision="fp32")
    assert np.array_equal(encoder.encode_pixels(GREY), safe.encode_pixels(GREY))
    assert encoder.info.logit_scale == safe.info.logit_scale
    assert encoder.info.encoder_id == safe.info.encoder_id, "the same tensors are the same encoder"


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_not_run(folder: Path, tmp_path: Path) -> None:
    torch.save({"visual": Evil(tmp_path / "evil")}, folder / "open_clip_pytorch_model.bin")
    (folder / SAFE).unlink()
    with pytest.raises(EncoderError, match="cannot be read as weights"):
        describe(EncoderSpec(model=local(folder), allow_pickle=True))
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 half a zip"])
def test_damaged_pickles(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(EncoderError, match=r"w\.pt cannot be read"):
        read_pickled(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore")  # torch calls its own archives deprecated
def test_an_archive_as_openai_publishes_them(tmp_path: Path, quick: str) -> None:
    path = tmp_path / "RN.pt"
    model = archive(path)
    state = read_pickled(path)
    expected = {name: value for name, value in model.state_dict().items() if name != "input_resolution"}
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name].float(), value.half().float()) for name, value in expected.items())
    spec = EncoderSpec(model=f"open-clip:{quick}:{path}", allow_pickle=True)
    encoder = load_encoder(spec, precision="fp32")
    assert encoder.info.logit_scale == pytest.approx(float(model.logit_scale), abs=2e-3)
    tokens = encoder.tokens(["a cup"])  # type: ignore[attr-defined]
    with torch.inference_mode():
        theirs = model.half().float().encode_text(tokens, normalize=True).numpy()
    assert float((encoder.encode_texts(["a cup"]) * theirs).sum()) >= 0.99999


@pytest.mark.filterwarnings("ignore")
def test_an_archive_needs_quick_gelu_and_a_permission(tmp_path: Path, quick: str) -> None:
    path = tmp_path / "RN.pt"
    archive(path)
    with pytest.raises(EncoderError, match="is a pickle"):
        describe(f"open-clip:{quick}:{path}")
    with pytest.raises(EncoderError, match="QuickGELU"):
        load_encoder(EncoderSpec(model=f"open-clip:RN-tiny:{path}", allow_pickle=True), precision="fp32")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("content", ["evil", "garbage", "nothing"])
def test_code_of_an_archive_is_not_run(tmp_path: Path, content: str) -> None:
    path, other, evil = tmp_path / "RN.pt", tmp_path / "other.pt", tmp_path / "evil"
    archive(path)
    data = {"evil": pickle.dumps(Evil(evil)), "garbage": b"garbage", "nothing": pickle.dumps("no module")}[content]
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for entry in source.infolist():
            target.writestr(entry.filename, data if entry.filename.endswith("/data.pkl") else source.read(entry))
    with pytest.raises(EncoderError, match="cannot be read as weights"):
        read_pickled(other)
    assert not evil.exists()
