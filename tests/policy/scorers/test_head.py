"""Heads: plain numpy on known weights, and files that are refused."""

import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file

import clipflow
from clipflow.encoders import describe
from clipflow.errors import PolicyError, UsageError
from clipflow.policy.check import check_policy, fingerprints
from clipflow.policy.head_file import HeadFile, write_head
from clipflow.policy.judge import prepare, score
from clipflow.policy.scorers.base import Evidence
from clipflow.rejudge import rejudge
from clipflow.spec import EncoderSpec, PolicySpec
from tests.catalogues import STUB, draw, job

INFO = describe(EncoderSpec.model_validate(STUB))
WIDE = replace(INFO, dim=768)
SHAPES = {
    "aesthetic_v1": ((1,), "none", "none"),
    "aesthetic_v2": ((1024, 128, 64, 16, 1), "none", "none"),
    "nsfw": ((64, 512, 256, 1), "relu", "sigmoid"),
}


def about(info: Any = INFO, **more: str) -> dict[str, str]:
    return {"activation": "none", "output": "none", "checkpoint_fp": info.checkpoint_fp, **more}


def layers(dim: int, outputs: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    tensors = {}
    for at, (before, after) in enumerate(zip((dim, *outputs), outputs, strict=False)):
        tensors[f"{at}.weight"] = (rng.standard_normal((after, before)) / np.sqrt(before)).astype(np.float32)
        tensors[f"{at}.bias"] = rng.standard_normal(after).astype(np.float32) / 10
    return tensors


def policy(path: Path | str | None) -> PolicySpec:
    return PolicySpec.model_validate({"rules": [{"name": "nice", "score": "head", "weights": path and str(path)}]})


def scores(spec: PolicySpec, info: Any, vectors: np.ndarray) -> np.ndarray:
    check_policy(spec, info, captions=False)
    made = pickle.loads(pickle.dumps(prepare(spec, info, lambda texts: np.empty((0, 0), np.float32))))
    evidence = Evidence(pa.table({"n": range(len(vectors))}), vectors, lambda texts: np.empty((0, 0), np.float32))
    return score(spec, made, evidence)[1]["score_nice"]


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("stored", [np.float16, np.float32])
def test_a_head_is_plain_arithmetic_on_the_unit_vector(tmp_path: Path, kind: str, stored: Any) -> None:
    outputs, activation, output = SHAPES[kind]
    tensors = layers(768, outputs)
    rng = np.random.default_rng(1)
    if kind == "nsfw":
        tensors |= {"mean": rng.standard_normal(768).astype(np.float32) / 50, "std": np.full(768, 0.04, np.float32)}
    write_head(tmp_path / "h.safetensors", tensors, about(activation=activation, output=output))
    vectors = rng.standard_normal((9, 768))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(stored).astype(np.float64)
    vectors[4] = np.nan
    found = scores(policy(tmp_path / "h.safetensors"), WIDE, vectors)
    assert found.dtype == np.float32
    assert np.isnan(found[4])
    for row in {*range(9)} - {4}:
        values = vectors[row] / np.sqrt((vectors[row] ** 2).sum())
        if "mean" in tensors:
            values = (values - tensors["mean"]) / tensors["std"].astype(np.float64)
        for at in range(len(outputs)):
            if at and activation == "relu":
                values = np.where(values > 0, values, 0)
            values = tensors[f"{at}.weight"].astype(np.float64) @ values + tensors[f"{at}.bias"]
        wanted = 1 / (1 + np.exp(-values[0])) if output == "sigmoid" else values[0]
        assert found[row] == pytest.approx(wanted, rel=1e-6, abs=1e-7)
    assert np.nanstd(found) > 1e-3


def test_no_rows_have_no_scores(tmp_path: Path) -> None:
    write_head(tmp_path / "h.safetensors", layers(16, (1,)), about())
    assert len(scores(policy(tmp_path / "h.safetensors"), INFO, np.empty((0, 16)))) == 0


def test_half_precision_weights_load(tmp_path: Path) -> None:
    tensors = {name: values.astype(np.float16) for name, values in layers(16, (1,)).items()}
    write_head(tmp_path / "h.safetensors", tensors, about())
    found = scores(policy(tmp_path / "h.safetensors"), INFO, np.eye(16))
    assert found == pytest.approx(tensors["0.weight"][0].astype(float) + tensors["0.bias"][0], abs=1e-6)


def test_the_fingerprint_follows_the_bytes_and_not_the_name(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_head(tmp_path / f"{name}.safetensors", layers(16, (1,), seed), about())
    one, two, three = (fingerprints(policy(tmp_path / f"{name}.safetensors"), INFO) for name in "abc")
    assert one == two
    assert one != three
    assert one != fingerprints(policy(tmp_path / "a.safetensors"), replace(INFO, dim=8))


def test_a_run_stores_the_score_and_notices_another_file_of_the_same_name(tmp_path: Path) -> None:
    head = tmp_path / "h.safetensors"
    tensors = layers(16, (1,))
    write_head(head, tensors, about())
    draw(tmp_path / "images", range(4))
    rules = {"rules": [{"name": "nice", "score": "head", "weights": str(head), "reject_below": 0}]}
    spec = job(tmp_path / "images", tmp_path / "t.lance", policy=rules)
    assert clipflow.run(spec, ray="none").counts["embedded"] == 4
    for row in lance.dataset(str(tmp_path / "t.lance")).to_table().to_pylist():
        vector = np.array(row["vector"], float)
        wanted = tensors["0.weight"][0].astype(float) @ vector / np.linalg.norm(vector) + tensors["0.bias"][0]
        assert row["score_nice"] == pytest.approx(wanted, abs=1e-6)
        assert row["status"] == ("rejected" if row["score_nice"] < 0 else "accepted")
    write_head(head, layers(16, (1,), seed=5), about())
    for act in (lambda: clipflow.plan(spec), lambda: clipflow.run(spec, ray="none")):
        with pytest.raises(PolicyError, match=r"The scores of rule 'nice' in .* follow from other weights"):
            act()
    # The same policy, given anew, scores by the new weights; a second time there is nothing to do.
    judged = rejudge(str(tmp_path / "t.lance"), spec.policy)
    assert judged.rescored == {"nice": 4}
    for row in lance.dataset(str(tmp_path / "t.lance")).to_table().to_pylist():
        assert row["status"] == ("rejected" if row["score_nice"] < 0 else "accepted")
    assert rejudge(str(tmp_path / "t.lance"), spec.policy).version == judged.version
    assert clipflow.run(spec, ray="none").counts["unchanged"] == 4


def test_a_head_of_another_checkpoint_is_refused_naming_both(tmp_path: Path) -> None:
    write_head(tmp_path / "h.safetensors", layers(16, (1,)), about())
    other = replace(INFO, checkpoint_fp="0123456789abcdef" * 4)
    with pytest.raises(PolicyError) as caught:
        check_policy(policy(tmp_path / "h.safetensors"), other, captions=False)
    assert "Rule 'nice'" in caught.value.message
    assert INFO.checkpoint_fp[:12] in caught.value.message
    assert "0123456789ab" in caught.value.message
    assert "a head for this encoder" in caught.value.mend


def test_a_head_that_belongs_to_nobody_is_refused(tmp_path: Path) -> None:
    write_head(tmp_path / "h.safetensors", layers(16, (1,)), {"activation": "none", "output": "none"})
    with pytest.raises(PolicyError, match="does not say which encoder's vectors") as caught:
        check_policy(policy(tmp_path / "h.safetensors"), INFO, captions=False)
    assert "clipflow convert-head" in caught.value.mend


def test_a_head_of_another_size_is_refused(tmp_path: Path) -> None:
    write_head(tmp_path / "h.safetensors", layers(24, (1,)), about())
    with pytest.raises(PolicyError, match="takes vectors of 24 dimensions; stub:dim=16 gives 16"):
        check_policy(policy(tmp_path / "h.safetensors"), INFO, captions=False)


@pytest.mark.parametrize("path", [None, ""])
def test_a_head_needs_weights(path: str | None) -> None:
    with pytest.raises(PolicyError, match="Rule 'nice': head needs weights"):
        check_policy(policy(path), INFO, captions=False)


def _header(tensors: dict[str, Any], **metadata: Any) -> bytes:
    text = json.dumps({**tensors, "__metadata__": metadata}).encode()
    return struct.pack("<Q", len(text)) + text


ONE = layers(16, (4, 1))
NO_HEADS: dict[str, tuple[dict[str, np.ndarray], dict[str, str], str]] = {
    "no activation": (ONE, {"output": "none"}, "activation: None, and must say none or relu"),
    "other output": (ONE, {"activation": "relu", "output": "tanh"}, "output: tanh, and must say none or sigmoid"),
    "nothing": ({}, about(), "it lacks 0.bias"),
    "no bias": ({k: v for k, v in ONE.items() if k != "1.bias"}, about(), "it lacks 1.bias"),
    "a gap": ({k.replace("1.", "2."): v for k, v in ONE.items()}, about(), "it lacks 1.bias"),
    "more": ({**ONE, "scale": np.ones(1, np.float32)}, about(), "it holds scale"),
    "mean alone": ({**ONE, "mean": np.ones(16, np.float32)}, about(), "it lacks std"),
    "std of zero": ({**ONE, "mean": np.ones(16), "std": np.zeros(16)}, about(), "std above 0"),
    "short mean": ({**ONE, "mean": np.ones(4), "std": np.ones(16)}, about(), "must be 16 numbers each"),
    "whole numbers": ({**ONE, "1.bias": np.ones(1, np.int32)}, about(), "1.bias holds what is no finite number"),
    "no number": ({**ONE, "1.bias": np.array([np.nan])}, about(), "1.bias holds what is no finite number"),
    "a broken chain": ({**ONE, "1.weight": np.ones((1, 5))}, about(), "layer 1 takes 5 numbers, and layer 0 gives 4"),
    "two outputs": (layers(16, (2,)), about(), "its last layer gives 2 numbers, and must give 1"),
    "a bias of another size": ({**ONE, "0.bias": np.ones(3)}, about(), "layer 0 is 4x16 with a bias of 3"),
    "a flat weight": ({**ONE, "0.weight": np.ones(16)}, about(), "layer 0 is 16 with a bias of 4"),
}


@pytest.mark.parametrize("name", NO_HEADS)
def test_what_is_no_head_is_refused_and_never_written(tmp_path: Path, name: str) -> None:
    tensors, metadata, words = NO_HEADS[name]
    path = tmp_path / "h.safetensors"
    with pytest.raises(UsageError, match="would be no head"):
        write_head(path, tensors, metadata)
    assert list(tmp_path.iterdir()) == []
    save_file(tensors, path, metadata)
    with pytest.raises(PolicyError) as caught:
        check_policy(policy(path), INFO, captions=False)
    assert caught.value.message.startswith(f"Rule 'nice': {path} is no head: ")
    assert words in caught.value.message


BROKEN = {
    "empty": b"",
    "text": b"hello, I am a head",
    "cut": b"\xff" * 200,
    "no tensors there": _header({"0.weight": {"dtype": "F32", "shape": [1, 16], "data_offsets": [0, 64]}}),
    "bfloat16": _header({"0.weight": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}) + b"\0\0",
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_sentence(tmp_path: Path, name: str) -> None:
    path = tmp_path / "h.safetensors"
    path.write_bytes(BROKEN[name])
    with pytest.raises(PolicyError, match=r"Rule 'nice': The head .* is not a whole safetensors file") as caught:
        check_policy(policy(path), INFO, captions=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", ["none.safetensors", "."])
def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path, path: str) -> None:
    with pytest.raises(PolicyError, match=r"Rule 'nice': (There is no head |The head .* cannot be read \()"):
        check_policy(policy(tmp_path / path), INFO, captions=False)


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "h.safetensors"
    written = write_head(path, ONE, about(kind="mine", source="here"))
    head = HeadFile.read(str(path))
    assert head.sha256 == written
    assert head.about == about(kind="mine", source="here")
    assert (head.dim, head.scaling) == (16, None)
    assert all((weight == ONE[f"{i}.weight"]).all() for i, (weight, _) in enumerate(head.layers))
    assert list(tmp_path.iterdir()) == [path]
