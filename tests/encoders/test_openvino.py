"""Encoders by OpenVINO: torch's vectors, one export a machine, and a sentence where it cannot be."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch

import clipflow
from clipflow.cli import main
from clipflow.encoders import Encoder, describe, load_encoder
from clipflow.encoders.openvino_check import check_backend
from clipflow.encoders.openvino_encoder import LEAST_COSINE, OpenVINOEncoder
from clipflow.encoders.transformers_towers import TransformersEncoder
from clipflow.errors import EncoderError, MissingEngine
from clipflow.spec import ComputeSpec, EncoderSpec
from tests.catalogues import draw, job, rows
from tests.families import ALL, Families
from tests.forks import Forks
from tests.pictures import photographs
from tests.tiny_families import TINY
from tests.tiny_models import tiny_clip

# Its exports, and the interpreter that its processes are forked from, are the module's.
pytestmark = pytest.mark.xdist_group("openvino")

OPENVINO = ComputeSpec(backend="openvino")
# What a worker does, in a process of its own; says whether that took torch's own model.
WORKER = """
import sys
import torch
from clipflow.encoders import load_encoder
from clipflow.spec import ComputeSpec
torch.set_num_threads(1)
assert "transformers" not in sys.modules
load_encoder(sys.argv[1], precision="fp32", texts=False, compute=ComputeSpec(backend="openvino"))
print("transformers" in sys.modules)
"""


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    """Processes that have not imported transformers."""
    with Forks("torch", "openvino", "clipflow.encoders") as forks:
        yield forks


@pytest.fixture(autouse=True)
def cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shared_cache))
    return shared_cache


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "clipflow" / "openvino"


def both(folder: Path, precision: str = "fp32", **more: Any) -> tuple[Encoder, Encoder]:
    torch_encoder = load_encoder(str(folder), precision="fp32", **more)
    return torch_encoder, load_encoder(str(folder), precision=precision, compute=OPENVINO, **more)


def pixels_of(encoder: Encoder) -> np.ndarray:
    return np.stack([encoder.preprocess(rgb) for _, rgb in sorted(photographs().items())])


def least_cosine(one: Encoder, other: Encoder) -> float:
    pixels = pixels_of(one)
    return float((one.encode_pixels(pixels).astype(np.float64) * other.encode_pixels(pixels)).sum(1).min())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_vectors_are_torchs(folder: Path, precision: str) -> None:
    ours, theirs = both(folder, precision)
    assert isinstance(theirs, OpenVINOEncoder)
    assert theirs.precision == precision
    assert least_cosine(ours, theirs) >= LEAST_COSINE[precision]
    assert ours.info == theirs.info, "what computes changes no identity"
    texts = ["a red square", "two cups"]
    assert np.array_equal(ours.encode_texts(texts), theirs.encode_texts(texts))


@pytest.mark.parametrize("family", sorted(set(TINY) - {"siglip2"}))
def test_every_family_of_one_size(family: str, families: Families) -> None:
    ours, theirs = both(families.folder(family), texts=False)
    assert least_cosine(ours, theirs) >= LEAST_COSINE["fp32"]


def test_batches_do_not_change_vectors(clip_folder: Path) -> None:
    _, encoder = both(clip_folder, texts=False)
    pixels = np.concatenate([pixels_of(encoder)] * 9)
    whole = encoder.encode_pixels(pixels)
    parts = [encoder.encode_pixels(pixels[at : at + size]) for at, size in ((0, 1), (1, 31), (32, 4))]
    assert np.allclose(whole, np.concatenate(parts), atol=1e-6)
    assert np.allclose(whole, encoder.encode_pixels(list(pixels)), atol=1e-6)
    assert encoder.encode_pixels(pixels[:0]).shape == (0, encoder.info.dim)


def test_lanes_share_a_model(clip_folder: Path) -> None:
    encoder = load_encoder(str(clip_folder), precision="fp32", texts=False, compute=OPENVINO, lanes=3)
    pixels, wrong = pixels_of(encoder), []
    expected = encoder.encode_pixels(pixels)

    def work() -> None:
        for _ in range(20):
            wrong.extend([1] * (not np.allclose(encoder.encode_pixels(pixels), expected, atol=1e-6)))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_auto_is_bf16_where_torch_would_take_it(clip_folder: Path) -> None:
    capable = torch.cpu.get_capabilities()
    expected = "bf16" if capable.get("avx512_bf16") or capable.get("amx_bf16") else "fp32"
    assert load_encoder(str(clip_folder), texts=False, compute=OPENVINO).precision == expected


def test_leading_dimensions_are_cut_then_normalised(clip_folder: Path) -> None:
    spec = EncoderSpec(model=str(clip_folder), truncate_dim=5)
    ours = load_encoder(spec, precision="fp32", texts=False)
    theirs = load_encoder(spec, precision="fp32", texts=False, compute=OPENVINO)
    assert theirs.encode_pixels(pixels_of(ours)).shape[1] == 5
    assert least_cosine(ours, theirs) >= LEAST_COSINE["fp32"]


def test_exported_once_and_then_without_torchs_model(
    clip_folder: Path, own_cache: Path, tmp_path: Path, forks: Forks
) -> None:
    def load(path: Path) -> str:
        load_encoder(str(path), precision="fp32", texts=False, compute=OPENVINO)
        (found,) = own_cache.glob("*/image_side.bin")
        return f"{found} {found.stat().st_mtime_ns}"

    first = load(clip_folder)
    assert load(clip_folder) == first
    draft = load_encoder(str(clip_folder), texts=False, precision="bf16", decode="draft", compute=OPENVINO)
    assert draft.info.decode == "draft"
    assert len(list(own_cache.glob("*/image_side.bin"))) == 1, "drafts and precisions share it"
    (worker,) = forks.run(WORKER, str(clip_folder))
    assert (worker.code, worker.out.strip()) == (0, "False"), worker.err
    load_encoder(str(tiny_clip(tmp_path / "other", seed=5)), texts=False, precision="fp32", compute=OPENVINO)
    assert len(list(own_cache.glob("*/image_side.bin"))) == 2


def test_workers_that_start_together_export_once(clip_folder: Path, own_cache: Path, forks: Forks) -> None:
    workers = forks.run(WORKER, str(clip_folder), times=3)
    assert [worker.code for worker in workers] == [0, 0, 0], workers
    assert sorted(worker.out.strip() for worker in workers) == ["False", "False", "True"]
    assert not [one for one in own_cache.iterdir() if one.name.startswith("tmp")]


def test_an_export_that_was_cut_off_is_made_anew(clip_folder: Path, own_cache: Path) -> None:
    _, encoder = both(clip_folder, texts=False)
    (found,) = own_cache.glob("*/check.npz")
    found.unlink()
    _, again = both(clip_folder, texts=False)
    assert least_cosine(encoder, again) > 0.99999
    assert found.is_file()


def spoil_weights(folder: Path) -> None:
    path = folder / "image_side.bin"
    values = np.fromfile(path, np.float32)
    values[: len(values) // 2] *= 3
    values.tofile(path)


def spoil_model(folder: Path) -> None:
    (folder / "image_side.xml").write_text("<net>")


def spoil_weights_with_nan(folder: Path) -> None:
    path = folder / "image_side.bin"
    np.full(path.stat().st_size // 4, np.nan, np.float32).tofile(path)


@pytest.mark.parametrize("spoil", [spoil_weights, spoil_weights_with_nan, spoil_model])
def test_vectors_that_are_not_torchs_are_refused(
    clip_folder: Path, own_cache: Path, spoil: Callable[[Path], None]
) -> None:
    both(clip_folder, texts=False)
    (found,) = own_cache.glob("*/image_side.xml")
    spoil(found.parent)
    with pytest.raises(EncoderError) as caught:
        load_encoder(str(clip_folder), precision="fp32", texts=False, compute=OPENVINO)
    assert "compute.backend: torch" in caught.value.mend
    assert "\n" not in str(caught.value)


def test_a_model_that_openvino_cannot_take_is_refused(
    clip_folder: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unconvertible(self: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        pixels = inputs["pixel_values"]
        made: torch.Tensor = torch.linalg.lstsq(pixels.flatten(1), torch.ones(len(pixels), 24))[0]
        return made

    def check_and_settle(self: Any) -> None:
        self.images = unconvertible.__get__(self)

    monkeypatch.setattr(TransformersEncoder, "check_and_settle", check_and_settle)
    with pytest.raises(EncoderError, match=f"OpenVINO cannot take {clip_folder}") as caught:
        load_encoder(str(clip_folder), precision="fp32", texts=False, compute=OPENVINO)
    assert caught.value.mend == "Set compute.backend: torch."
    assert not list(own_cache.glob("*/image_side.xml"))


def test_a_cache_that_cannot_be_written(clip_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EncoderError, match="cannot be written") as caught:
        load_encoder(str(clip_folder), precision="fp32", texts=False, compute=OPENVINO)
    assert "XDG_CACHE_HOME" in caught.value.mend


def test_fp16_is_refused(clip_folder: Path) -> None:
    with pytest.raises(EncoderError, match="fp16"):
        load_encoder(str(clip_folder), precision="fp16", texts=False, compute=OPENVINO)


@pytest.mark.parametrize(
    ("model", "compute", "said"),
    [
        ("stub:dim=8", {}, "'stub' has no torch model"),
        ("siglip2", {}, "NaFlex"),
        ("clip", {"gpus_per_encoder": 1}, "computes on CPUs"),
        ("clip", {"compile": True}, "compute.compile"),
    ],
)
def test_what_cannot_be_is_refused_on_the_driver(
    model: str, compute: dict[str, Any], said: str, tmp_path: Path, families: Families
) -> None:
    encoder = {"model": str(families.folder(model)) if model in ALL else model}
    (tmp_path / "images").mkdir()
    spec = job(tmp_path / "images", tmp_path / "t.lance", encoder=encoder, compute={"backend": "openvino", **compute})
    with pytest.raises(EncoderError, match=said) as caught:
        clipflow.plan(spec)
    assert caught.value.mend
    with pytest.raises(EncoderError, match=said):
        load_encoder(spec.encoder, compute=spec.compute)


def test_without_the_extra_a_sentence_names_it(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipflow.encoders.openvino_check.find_spec", lambda name: None)
    with pytest.raises(MissingEngine, match="openvino is not installed") as caught:
        check_backend(OPENVINO, describe(str(clip_folder)))
    assert "clipflow[engine,openvino]" in caught.value.mend
    check_backend(ComputeSpec(), describe(str(clip_folder)))


def test_a_run_records_the_backend_and_goes_on_with_either(tmp_path: Path, clip_folder: Path) -> None:
    draw(tmp_path / "images", range(3))
    spec = job(tmp_path / "images", tmp_path / "t.lance", encoder={"model": str(clip_folder), "precision": "fp32"})
    fast = spec.model_copy(update={"compute": OPENVINO})
    assert clipflow.run(fast, ray="none").document()["embedded"] == 3
    draw(tmp_path / "images", range(3, 5))
    assert clipflow.run(spec, ray="none").document()["embedded"] == 2
    assert len({row["encoder_id"] for row in rows(tmp_path / "t.lance").values()}) == 1
    runs = clipflow.open(tmp_path / "t.lance").sql("select encoder from runs order by started_at")
    cards = [json.loads(run["encoder"]) for run in runs]
    assert [card["backend"] for card in cards] == ["openvino", "torch"]
    assert cards[0]["runtime"]["openvino"].startswith(openvino.__version__[:6])
    assert "openvino" not in cards[1]["runtime"]
    other = job(tmp_path / "images", tmp_path / "u.lance", encoder={"model": str(clip_folder), "precision": "fp32"})
    clipflow.run(other, ray="none")
    found = [rows(tmp_path / f"{name}.lance", ["image_id", "vector"]) for name in "tu"]
    assert all(np.dot(found[0][key]["vector"], found[1][key]["vector"]) > 0.999 for key in found[0])


def test_doctor_tries_it(tmp_path: Path, clip_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path / "images", range(1))
    encoder, compute = {"model": str(clip_folder)}, {"backend": "openvino"}
    spec = job(tmp_path / "images", tmp_path / "t.lance", encoder=encoder, compute=compute)
    (tmp_path / "job.yaml").write_text(json.dumps(spec.body()))
    assert main(["doctor", str(tmp_path / "job.yaml")]) == 0
    assert "by openvino" in capsys.readouterr().out


def test_it_tells_its_makers_nothing() -> None:
    """Importing OpenVINO sends an event, by a process that is forked beside our threads."""
    code = (
        "import os, sys; os.register_at_fork(before=lambda: print('forked'));"
        "import clipflow.encoders.openvino_encoder, openvino.tools.ovc.telemetry_utils as utils;"
        "import time; time.sleep(1); print(utils.tm.__name__, 'openvino_telemetry' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300)
    assert said.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "False"]
