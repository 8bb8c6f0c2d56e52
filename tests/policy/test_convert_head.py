"""The authors' files: what becomes of them, and which are refused without running their code."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipflow.cli import main
from clipflow.encoders import describe
from clipflow.policy.convert_head import KINDS
from clipflow.policy.head_file import HeadFile

ENCODER = "stub:dim=16"
State = dict[str, torch.Tensor]


def linear(dim: int, *outputs: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    ins = (dim, *outputs[:-1])
    return [
        (torch.randn(out, into, generator=generator), torch.randn(out, generator=generator))
        for into, out in zip(ins, outputs, strict=True)
    ]


def v1(dim: int = 16) -> State:
    ((weight, bias),) = linear(dim, 1)
    return {"weight": weight, "bias": bias}


def v2(dim: int = 16) -> State:
    # Where the authors' nn.Sequential has its layers; between them stands dropout.
    names = (0, 2, 4, 6, 7)
    parts = zip(names, linear(dim, 1024, 128, 64, 16, 1), strict=True)
    return {
        f"layers.{at}.{name}": one for at, pair in parts for name, one in zip(("weight", "bias"), pair, strict=True)
    }


def nsfw(dim: int = 16) -> State:
    """As Keras names and turns its weights."""
    scaling = {"normalization/mean": torch.randn(dim), "normalization/variance": torch.rand(dim) + 0.1}
    state = {**scaling, "normalization/count": torch.tensor(7)}
    for at, (weight, bias) in enumerate(linear(dim, 64, 512, 256, 1)):
        state |= {f"dense_{at}/kernel": weight.T.contiguous(), f"dense_{at}/bias": bias}
    return state


def convert(tmp_path: Path, state: Any, kind: str, *more: str) -> int:
    torch.save(state, tmp_path / "in.pth")
    return main(["convert-head", f"{tmp_path}/in.pth", f"{tmp_path}/out.safetensors", "--kind", kind, *_for(*more)])


def _for(*more: str) -> tuple[str, ...]:
    return more or ("--encoder", ENCODER)


@pytest.mark.parametrize(("kind", "state"), [("aesthetic_v1", v1), ("aesthetic_v2", v2), ("nsfw", nsfw)])
def test_a_known_head_keeps_its_numbers_and_learns_its_encoder(
    tmp_path: Path, kind: str, state: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    given = state()
    assert convert(tmp_path, given, kind, "--encoder", ENCODER, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    head = HeadFile.read(f"{tmp_path}/out.safetensors")
    assert document["sha256"] == head.sha256
    assert document["checkpoint_fp"] == head.about["checkpoint_fp"] == describe(ENCODER).checkpoint_fp
    assert (head.about["kind"], head.about["activation"], head.about["output"]) == (
        kind,
        KINDS[kind].activation,
        KINDS[kind].output,
    )
    assert head.about["source"].startswith("in.pth, sha256 ")
    assert document["layers"] == [list(weight.shape) for weight, _ in head.layers]
    weights = [one.T if name.endswith("kernel") else one for name, one in given.items() if one.ndim == 2]
    biases = [one for name, one in given.items() if name.endswith("bias")]
    for (weight, bias), one, other in zip(head.layers, weights, biases, strict=True):
        assert (weight == one.numpy()).all()
        assert (bias == other.numpy()).all()
    if kind == "nsfw":
        assert head.scaling is not None
        assert (head.scaling[0] == given["normalization/mean"].numpy()).all()
        assert head.scaling[1] == pytest.approx(np.sqrt(given["normalization/variance"].numpy()), rel=1e-6)
    else:
        assert head.scaling is None


def test_the_order_of_a_file_is_not_that_of_the_layers(tmp_path: Path) -> None:
    assert convert(tmp_path, v2(), "aesthetic_v2") == 0
    before = (tmp_path / "out.safetensors").read_bytes()
    source = HeadFile.read(f"{tmp_path}/out.safetensors").about["source"]
    assert convert(tmp_path, dict(reversed(v2().items())), "aesthetic_v2") == 0
    after = HeadFile.read(f"{tmp_path}/out.safetensors")
    assert after.about["source"] != source, "another file"
    (tmp_path / "old.safetensors").write_bytes(before)
    for (one, _), (other, _) in zip(after.layers, HeadFile.read(f"{tmp_path}/old.safetensors").layers, strict=True):
        assert (one == other).all()


def test_std_may_stand_for_variance_and_weights_for_kernels(tmp_path: Path) -> None:
    state = {"mean": torch.zeros(16), "std": torch.full((16,), 0.5)}
    for at, (weight, bias) in enumerate(linear(16, 64, 512, 256, 1)):
        state |= {f"{at}.weight": weight.half(), f"{at}.bias": bias.double()}
    assert convert(tmp_path, state, "nsfw") == 0
    head = HeadFile.read(f"{tmp_path}/out.safetensors")
    assert head.scaling is not None
    assert (head.scaling[1] == 0.5).all()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("way", ["torch", "pickle"])
def test_the_code_of_a_pickle_is_not_run(tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    trap = tmp_path / "trap"
    if way == "torch":
        torch.save({"weight": Evil(trap)}, tmp_path / "in.pth")
    else:
        (tmp_path / "in.pth").write_bytes(pickle.dumps({"weight": Evil(trap)}))
    call = ["convert-head", f"{tmp_path}/in.pth", f"{tmp_path}/out.safetensors", "--kind", "aesthetic_v1"]
    assert main([*call, "--encoder", ENCODER]) == 2
    out, err = capsys.readouterr()
    assert "is not a state dict of tensors and nothing else" in err
    assert (out, len(err.splitlines())) == ("", 1)
    assert [path.name for path in tmp_path.iterdir()] == ["in.pth"]


WRONG: dict[str, tuple[Any, str, str]] = {
    "another kind": (
        v2(),
        "aesthetic_v1",
        "in.pth is no aesthetic_v1 head for stub:dim=16: its layers are 1024x16, 128x1024",
    ),
    "another encoder": (v1(768), "aesthetic_v1", "its layers are 1x768, and must be 1x16."),
    "two layers of a shape": ({f"{n}.{k}": v for n in "ab" for k, v in v1().items()}, "aesthetic_v1", "1x16, 1x16"),
    "no kind": (v1(), "aesthetic", "'aesthetic' is no kind of head. Did you mean 'aesthetic_v"),
    "no kind at all": (v1(), "zzz", "Kinds are aesthetic_v1, aesthetic_v2, nsfw."),
    "no scaling": ({k: v for k, v in nsfw().items() if "norm" not in k}, "nsfw", "needs mean, and variance or std"),
    "scaling": ({**v1(), "mean": torch.ones(16), "std": torch.ones(16)}, "aesthetic_v1", "scales no inputs"),
    "half a layer": ({"weight": torch.ones(1, 16)}, "aesthetic_v1", "it is no linear layer with a weight and a bias"),
    "a flat layer": ({"weight": torch.ones(16), "bias": torch.ones(1)}, "aesthetic_v1", "is no linear layer"),
    "more": ({**v1(), "running_var": torch.ones(1)}, "aesthetic_v1", "holds running_var, which is no part of a head"),
    "a bias of another size": ({**v1(), "bias": torch.ones(2)}, "aesthetic_v1", "with a bias of 2"),
    "no number": ({**v1(), "bias": torch.tensor([torch.nan])}, "aesthetic_v1", "holds what is no finite number"),
    "a list": ([torch.ones(1)], "aesthetic_v1", "holds no state dict of tensors"),
    "nested": ({"state_dict": v1()}, "aesthetic_v1", "holds no state dict of tensors"),
    "nothing": ({}, "aesthetic_v1", "holds no state dict of tensors"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    state, kind, words = WRONG[name]
    assert convert(tmp_path, state, kind) == 2
    out, err = capsys.readouterr()
    assert words in err
    assert (out, len(err.splitlines())) == ("", 1)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04 and more", b"\x80\x02}q\x00."], ids=repr)
def test_what_torch_did_not_save_is_one_sentence(
    tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in.pth").write_bytes(data)
    call = ["convert-head", f"{tmp_path}/in.pth", f"{tmp_path}/out.safetensors", "--kind", "nsfw"]
    assert main([*call, "--encoder", ENCODER]) == 2
    err = capsys.readouterr().err
    assert "state dict" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("source", "target", "more", "words"),
    [
        ("none.pth", "out.safetensors", ("--encoder", ENCODER), "none.pth cannot be read (No such file"),
        (".", "out.safetensors", ("--encoder", ENCODER), "cannot be read (Is a directory"),
        ("in.pth", "out.bin", ("--encoder", ENCODER), "out.bin is no name for a head. Let it end in .safetensors."),
        ("in.pth", "no/out.safetensors", ("--encoder", ENCODER), "cannot be written (No such file"),
        ("in.pth", "out.safetensors", ("--encoder", "demmo"), "Did you mean 'demo'?"),
        ("in.pth", "out.safetensors", (), "arguments are required: --encoder"),
        ("in.pth", "out.safetensors", ("--encoder", "demo", "--revision", "1"), "must be 1x"),
    ],
)
def test_a_wrong_call_is_one_sentence(
    tmp_path: Path, source: str, target: str, more: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(v1(), tmp_path / "in.pth")
    assert main(["convert-head", f"{tmp_path}/{source}", f"{tmp_path}/{target}", "--kind", "aesthetic_v1", *more]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1
