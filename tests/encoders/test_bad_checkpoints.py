"""Checkpoints that are not what they say, through the main job: one sentence, and no image is touched."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import clipflow
from clipflow.cli import main
from clipflow.errors import EncoderError, QueryError
from clipflow.query.sql import sql
from clipflow.spec import JobSpec
from clipflow.table.address import TableAddress
from tests.catalogues import draw, job
from tests.families import ALL, Families
from tests.tiny_models import edit_config

Weights = dict[str, torch.Tensor]
Damage = Callable[[Path], None]
# One that looks at texts too, one with other patches, one of pictures alone, one without attention.
KINDS = ["clip", "siglip2", "dinov2", "dinov3_convnext"]
RULE = {
    "name": "topic",
    "score": "zero_shot",
    "labels": {"a": "a cup", "b": "a cat"},
    "label": "a",
    "none": "b",
    "reject_below": 0.1,
}
SINGLE = "model.safetensors"


def _with(change: Callable[[Weights], Weights], folder: Path) -> None:
    _save(change(load_file(folder / SINGLE)), folder / SINGLE)


def _save(weights: Weights, path: Path) -> None:
    save_file(weights, path, metadata={"format": "pt"})


def _a_matrix(weights: Weights) -> str:
    return max((name for name in weights if "text" not in name), key=lambda name: (weights[name].numel(), name))


def _changed(weights: Weights, change: Callable[[torch.Tensor], torch.Tensor]) -> Weights:
    name = _a_matrix(weights)
    return {**weights, name: change(weights[name]).contiguous()}


def _renamed(weights: Weights) -> Weights:
    return {f"module.net.{name}": value for name, value in weights.items()}


def _lacking(weights: Weights) -> Weights:
    return {name: value for name, value in weights.items() if name != _a_matrix(weights)}


def _one_number(value: float, tensor: torch.Tensor) -> torch.Tensor:
    made = tensor.clone()
    made.view(-1)[made.numel() // 2] = value
    return made


def _shards(folder: Path) -> list[str]:
    """Two, as the index of the files has it; their names."""
    weights = load_file(folder / SINGLE)
    (folder / SINGLE).unlink()
    names = sorted(weights)
    shards = {f"model-0000{at + 1}-of-00002.safetensors": names[at::2] for at in range(2)}
    for shard, chosen in shards.items():
        _save({name: weights[name] for name in chosen}, folder / shard)
    index = {"metadata": {}, "weight_map": {name: shard for shard, chosen in shards.items() for name in chosen}}
    (folder / f"{SINGLE}.index.json").write_text(json.dumps(index))
    return sorted(shards)


def _half_a_shard(folder: Path) -> None:
    shard = folder / _shards(folder)[1]
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])


def _no_shard(folder: Path) -> None:
    (folder / _shards(folder)[0]).unlink()


def _empty_shard(folder: Path) -> None:
    (folder / _shards(folder)[0]).write_bytes(b"")


def _a_shard_of_another_download(folder: Path) -> None:
    first, second = (folder / name for name in _shards(folder))
    shutil.copyfile(first, second)


def _half_a_file(folder: Path) -> None:
    (folder / SINGLE).write_bytes((folder / SINGLE).read_bytes()[:-10])


def _a_page_instead(folder: Path) -> None:
    (folder / SINGLE).write_text("<!doctype html><title>401 Unauthorized</title>")


def _a_pointer_instead(folder: Path) -> None:
    (folder / SINGLE).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 598641023\n")


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / SINGLE), folder / "pytorch_model.bin")
    (folder / SINGLE).unlink()


def _of_another_family(folder: Path) -> None:
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    other = ALL["siglip" if kind == "dinov2" else "dinov2"](folder.parent / "other")
    shutil.copyfile(other / SINGLE, folder / SINGLE)


def _no_configuration(folder: Path) -> None:
    (folder / "config.json").unlink()


def _half_a_configuration(folder: Path) -> None:
    text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text[: len(text) // 2])


DAMAGES: dict[str, tuple[Damage, str]] = {
    "renamed": (partial(_with, _renamed), "lack"),
    "lacking": (partial(_with, _lacking), "lack"),
    "shape": (partial(_with, partial(_changed, change=lambda one: one[:-1])), "do not fit"),
    "nan": (partial(_with, partial(_changed, change=partial(_one_number, float("nan")))), "not finite"),
    "infinite": (partial(_with, partial(_changed, change=partial(_one_number, float("inf")))), "not finite"),
    "half a file": (_half_a_file, "not a whole safetensors file"),
    "a page": (_a_page_instead, "not a whole safetensors file"),
    "a pointer": (_a_pointer_instead, "not a whole safetensors file"),
    "half a shard": (_half_a_shard, "not a whole safetensors file"),
    "no shard": (_no_shard, "lacks the shard"),
    "empty shard": (_empty_shard, "not a whole safetensors file"),
    "wrong shard": (_a_shard_of_another_download, "lack"),
    "pickle": (_pickled, "allow_pickle"),
    "family": (_of_another_family, "lack"),
    "no configuration": (_no_configuration, "config.json"),
    "half a configuration": (_half_a_configuration, "config.json"),
}


@pytest.fixture(scope="session")
def checkpoints(families: Families) -> dict[str, Path]:
    return {kind: families.folder(kind) for kind in {*KINDS, "siglip"}}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    draw(tmp_path / "images", range(2))
    return tmp_path / "images"


def _job(images: Path, model: Path, rules: list[dict[str, Any]] | None = None) -> JobSpec:
    encoder = {"model": str(model), "precision": "fp32"}
    return job(images, images.parent / "t.lance", encoder=encoder, policy={"rules": rules or []})


def _refused(spec: JobSpec, said: str) -> None:
    with pytest.raises(EncoderError, match=re.escape(said)) as refused:
        clipflow.run(spec, ray="none")
    assert refused.value.mend
    assert not refused.value.retryable
    assert not Path(spec.table.uri).exists()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_checkpoint_is_refused(
    checkpoints: dict[str, Path], images: Path, tmp_path: Path, kind: str, damage: str
) -> None:
    model = Path(shutil.copytree(checkpoints[kind], tmp_path / "model"))
    change, said = DAMAGES[damage]
    change(model)
    spec = _job(images, model)
    _refused(spec, said)
    if Path(TableAddress.of(spec.table.uri).runs).exists():
        (run,) = sql(spec.table.uri, "select state, error from runs")
        assert run["state"] == "failed"
        assert said in run["error"]
        with pytest.raises(QueryError, match="images"):
            sql(spec.table.uri, "select * from images")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_stands_in_the_way_of_the_checkpoint_that_was_meant(
    checkpoints: dict[str, Path], images: Path, tmp_path: Path, kind: str
) -> None:
    spec = _job(images, tmp_path / "model")
    # One is refused before there is anything beside the table, one leaves a run that failed.
    for damage, leaves in (("half a file", False), ("nan", True)):
        shutil.copytree(checkpoints[kind], tmp_path / "model")
        change, said = DAMAGES[damage]
        change(tmp_path / "model")
        _refused(spec, said)
        assert Path(TableAddress.of(spec.table.uri).runs).exists() == leaves
        shutil.rmtree(tmp_path / "model")
    shutil.copytree(checkpoints[kind], tmp_path / "model")
    assert clipflow.run(spec, ray="none").document()["embedded"] == 2


@pytest.mark.parametrize(
    ("kind", "part"),
    [("clip", "vision_config"), ("siglip", "vision_config"), ("dinov2", None)],
)
@pytest.mark.parametrize(("layers", "said"), [(1, "there is no such layer"), (3, "lack")])
def test_weights_of_a_deeper_or_shallower_model_are_refused(
    checkpoints: dict[str, Path], images: Path, tmp_path: Path, kind: str, part: str | None, layers: int, said: str
) -> None:
    model = Path(shutil.copytree(checkpoints[kind], tmp_path / "model"))
    config = json.loads((model / "config.json").read_text())
    assert (config[part] if part else config)["num_hidden_layers"] == 2
    depth = {"num_hidden_layers": layers}
    stages: dict[str, Any] = {
        "stage_names": ["stem", *(f"stage{at + 1}" for at in range(layers))],
        "out_indices": [layers],
    }
    stages["out_features"] = stages["stage_names"][-1:]
    edit_config(model, **({part: {**config[part], **depth}} if part else {**depth, **stages}))
    _refused(_job(images, model), said)


def _half_a_tokenizer(folder: Path) -> None:
    for path in folder.glob("tokenizer*.json"):
        path.write_text(path.read_text()[:30])


def _no_tokenizer(folder: Path) -> None:
    for path in [*folder.glob("*token*"), *folder.glob("spiece*"), *folder.glob("vocab*"), *folder.glob("merges*")]:
        path.unlink()


def _nan_in_texts(folder: Path) -> None:
    name = "text_model.final_layer_norm.weight"
    _with(lambda weights: {**weights, name: torch.full_like(weights[name], float("nan"))}, folder)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize(
    ("change", "said"), [(_half_a_tokenizer, "tokenizer"), (_no_tokenizer, "tokenizer"), (_nan_in_texts, "not finite")]
)
def test_a_damaged_text_side_is_refused_where_a_rule_reads_texts(
    checkpoints: dict[str, Path], images: Path, tmp_path: Path, kind: str, change: Damage, said: str
) -> None:
    model = Path(shutil.copytree(checkpoints[kind], tmp_path / "model"))
    change(model)
    _refused(_job(images, model, [RULE]), said)


def test_the_command_says_it_in_one_sentence(
    checkpoints: dict[str, Path], images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Path(shutil.copytree(checkpoints["clip"], tmp_path / "model"))
    _half_a_file(model)
    (tmp_path / "job.yaml").write_text(json.dumps(_job(images, model).body()))
    assert main(["run", str(tmp_path / "job.yaml"), "--ray", "none"]) != 0
    said = capsys.readouterr().err
    assert "not a whole safetensors file. Download the checkpoint again." in " ".join(said.split())
    assert "Traceback" not in said


def test_without_sentencepiece_a_siglip_tokenizer_names_it(checkpoints: dict[str, Path], images: Path) -> None:
    spec = _job(images, checkpoints["siglip"], [RULE])
    # As where nobody has installed it: neither found nor imported.
    code = (
        "import importlib.util, sys\n"
        "found = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *more: None if name == 'sentencepiece' else found(name, *more)\n"
        "sys.modules['sentencepiece'] = None\n"
        "from clipflow.cli import main\n"
        "sys.exit(main(['run', sys.argv[1], '--ray', 'none']))\n"
    )
    (images.parent / "job.yaml").write_text(json.dumps(spec.body()))
    command = [sys.executable, "-c", code, str(images.parent / "job.yaml")]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode != 0
    assert "Install sentencepiece" in " ".join(made.stderr.split())
    assert "Traceback" not in made.stderr
    assert not Path(spec.table.uri).exists()
