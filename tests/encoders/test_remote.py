"""Models that bring their own code: called as their authors call them, and run only when and as far as a job says."""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer, XLMRobertaTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import clipflow
from clipflow.encoders import EncoderInfo, describe, encoder_spec, load_encoder, load_preprocess
from clipflow.encoders.base import Encoder
from clipflow.encoders.geometry import read_geometry
from clipflow.encoders.openvino_encoder import OpenVINOEncoder
from clipflow.errors import EncoderError
from clipflow.query.search import search
from clipflow.spec import ComputeSpec, EncoderSpec
from tests.catalogues import draw, job, picture, rows
from tests.forks import Forks
from tests.remote_models import COMMITS, Standin, snapshot, tiny_eva, tiny_jina, tiny_nomic
from tests.tiny_models import CAPTIONS, SIDE, edit_config, hub_layout

# The hub's cache, the stand-ins and the interpreter that processes are forked from are the module's.
pytestmark = pytest.mark.xdist_group("remote")

Vectors = npt.NDArray[np.float32]
MAKERS: dict[str, Callable[[Path, Path], Standin]] = {"eva": tiny_eva, "jina": tiny_jina, "nomic": tiny_nomic}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty hub cache without a network, and an empty place for imported code."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(home))
        # The libraries read their settings when they are imported, hence their constants.
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(home / "modules"))
        patch.setattr(sys, "path", list(sys.path))
        yield home


@pytest.fixture(scope="module")
def standins(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Standin]:
    return {name: make(home, tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(params=sorted(MAKERS))
def standin(request: pytest.FixtureRequest, standins: dict[str, Standin]) -> Standin:
    return standins[request.param]


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    drawn = [np.random.default_rng(seed).integers(0, 255, (9, 9, 3), np.uint8) for seed in range(5)]
    sizes = [(64, 48), (50, 90), (32, 32), (20, 30), (200, 100)]
    return [Image.fromarray(one).resize(size, Image.Resampling.BICUBIC) for one, size in zip(drawn, sizes, strict=True)]


def loaded(standin: Standin, **more: Any) -> Encoder:
    return load_encoder(EncoderSpec(**{**standin.job, **more}))


def unit(vectors: torch.Tensor) -> Vectors:
    return np.asarray(vectors / vectors.norm(dim=1, keepdim=True), np.float32)


@torch.inference_mode()
def authors_images(standin: Standin, pictures: list[Image.Image]) -> Vectors:
    """As the model's page says it."""
    processor = CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SIDE)
    pixels = processor(pictures, return_tensors="pt").pixel_values
    match standin.model:
        case "acme/eva":
            return unit(standin.reference.encode_image(pixels))
        case "acme/jina":
            return unit(standin.reference.get_image_features(pixels))
    return unit(standin.reference(pixel_values=pixels).last_hidden_state[:, 0])


@torch.inference_mode()
def authors_texts(standin: Standin, texts: list[str]) -> Vectors:
    if standin.model == "acme/eva":
        tokens = CLIPTokenizer.from_pretrained(standin.folder)(texts, return_tensors="pt", padding=True)
        return unit(standin.reference.encode_text(tokens.input_ids))
    tokenizer = XLMRobertaTokenizer.from_pretrained(standin.folder)
    tokens = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=512)
    return unit(standin.reference.get_text_features(input_ids=tokens.input_ids))


def test_vectors_are_those_of_the_authors_usage(standin: Standin, pictures: list[Image.Image]) -> None:
    encoder = loaded(standin)
    ours = encoder.encode_images(pictures)
    assert ours.shape == (len(pictures), encoder.info.dim)
    assert (ours * authors_images(standin, pictures)).sum(axis=1).min() >= 0.99999
    assert np.abs(ours[0] - ours[1]).max() > 1e-3, "all pictures look alike"
    preprocess = load_preprocess(encoder.info)
    pixels = [preprocess(np.asarray(one)) for one in pictures]
    assert np.allclose(encoder.encode_pixels(np.stack(pixels)), ours, atol=1e-6)
    assert encoder.encode_pixels([]).shape == (0, encoder.info.dim)


def test_texts_are_those_of_the_authors_usage(standin: Standin) -> None:
    encoder = loaded(standin)
    assert encoder.info.has_text == (standin.model != "acme/nomic")
    if not encoder.info.has_text:
        assert encoder.info.score == "cosine"
        with pytest.raises(EncoderError, match="no text side"):
            encoder.encode_texts(["a cup"])
        return
    assert encoder.info.score == "softmax"
    assert encoder.info.logit_scale == pytest.approx(2.6592)
    assert (encoder.encode_texts(CAPTIONS) * authors_texts(standin, CAPTIONS)).sum(axis=1).min() >= 0.99999
    assert encoder.encode_texts([]).shape == (0, encoder.info.dim)


def test_without_texts_the_image_side_is_loaded_alone(standin: Standin, pictures: list[Image.Image]) -> None:
    whole, alone = loaded(standin), load_encoder(EncoderSpec(**standin.job), texts=False)
    assert np.array_equal(alone.encode_images(pictures), whole.encode_images(pictures))
    assert alone.info == whole.info
    with pytest.raises(EncoderError, match="text side"):
        alone.encode_texts(["a cup"])
    names = {name.partition(".")[0] for name, _ in alone.model.named_parameters()}  # type: ignore[attr-defined]
    assert not names & {"text_model", "text_projection"}
    assert names & {"vision_model", "patch"}


@pytest.mark.parametrize("compute", [None, ComputeSpec()], ids=["plain", "packed"])
def test_bf16_is_of_the_image_side_alone(
    standin: Standin, pictures: list[Image.Image], compute: ComputeSpec | None
) -> None:
    half = load_encoder(EncoderSpec(**standin.job), precision="bf16", compute=compute)
    assert (half.encode_images(pictures) * authors_images(standin, pictures)).sum(axis=1).min() >= 0.999
    if half.info.has_text:
        assert (half.encode_texts(CAPTIONS) * authors_texts(standin, CAPTIONS)).sum(axis=1).min() >= 0.99999


def test_describing_runs_no_code_and_imports_nothing_heavy(standins: dict[str, Standin], tmp_path: Path) -> None:
    code = (
        "import json, sys, clipflow.encoders as e; from clipflow.spec import EncoderSpec\n"
        "for job in sys.argv[1:]:\n"
        "    print(e.describe(EncoderSpec(**json.loads(job))).encoder_id)\n"
        "    assert not {'torch', 'transformers'} & sys.modules.keys()\n"
    )
    ran = {"STANDIN_RAN": str(tmp_path / "ran")}
    told = subprocess.run(
        [sys.executable, "-c", code, *(json.dumps(standin.job) for standin in standins.values())],
        check=True,
        env=os.environ | ran,
        capture_output=True,
        text=True,
    )
    assert told.stdout.split() == [describe(EncoderSpec(**one.job)).encoder_id for one in standins.values()]
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def forks(home: Path) -> Iterator[Forks]:
    """Processes that have the libraries, and no model's code."""
    with Forks("clipflow.encoders.remote_towers") as forks:
        yield forks


def test_loading_runs_it(standin: Standin, forks: Forks, tmp_path: Path) -> None:
    code = (
        "import json, sys, clipflow.encoders as e; from clipflow.spec import EncoderSpec;"
        "from transformers import dynamic_module_utils; dynamic_module_utils.HF_MODULES_CACHE = sys.argv[2];"
        "e.load_encoder(EncoderSpec(**json.loads(sys.argv[1])))"
    )
    words, ran = [json.dumps(standin.job), str(tmp_path / "modules")], {"STANDIN_RAN": str(tmp_path / "ran")}
    # Two at once, as two workers of one machine that have not run it before.
    both = forks.run(code, *words, times=2, environment=ran)
    assert [one.code for one in both] == [0, 0], both
    assert len((tmp_path / "ran").read_text().splitlines()) == {"acme/jina": 6}.get(standin.model, 4)


@pytest.mark.parametrize("loader", [None, "remote"])
def test_without_trust_nothing_runs_and_the_keys_are_named(
    standin: Standin, loader: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_RAN", str(tmp_path / "ran"))
    with pytest.raises(EncoderError) as caught:
        loaded(standin, trust_remote_code=False, loader=loader)
    assert "encoder.trust_remote_code: true" in caught.value.mend
    assert "encoder.revision: <40 hex" in caught.value.mend
    assert ("encoder.code_revision: <" in caught.value.mend) == (standin.model == "acme/nomic")
    assert ("acme/jina-code@<40 hex" in caught.value.mend) == (standin.model == "acme/jina")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("revision", "loader"), [(None, None), ("main", None), ("main", "remote"), (COMMITS["main"][:12], "remote")]
)
def test_a_revision_that_can_move_is_refused(standin: Standin, revision: str | None, loader: str | None) -> None:
    with pytest.raises(EncoderError, match=r"encoder\.revision"):
        describe(EncoderSpec(**{**standin.job, "revision": revision, "loader": loader}))


@pytest.mark.parametrize("name", ["jina", "nomic"])
@pytest.mark.parametrize("code_revision", [None, "main", "acme/nomic-code@main", COMMITS["code"][:12]])
def test_a_second_repository_needs_its_commit(
    standins: dict[str, Standin], name: str, code_revision: str | None
) -> None:
    with pytest.raises(EncoderError, match=r"encoder\.code_revision"):
        describe(EncoderSpec(**{**standins[name].job, "code_revision": code_revision}))


def test_every_further_repository_needs_its_commit(standins: dict[str, Standin]) -> None:
    with pytest.raises(EncoderError, match=r"acme/jina-code@<40 hex digits>,acme/flash-text@<40 hex digits>"):
        describe(EncoderSpec(**{**standins["jina"].job, "code_revision": COMMITS["code"]}))


def test_a_commit_that_nothing_needs_is_refused(standins: dict[str, Standin]) -> None:
    with pytest.raises(EncoderError, match="takes no code from"):
        describe(EncoderSpec(**{**standins["eva"].job, "code_revision": COMMITS["code"]}))


def test_the_pinned_commit_of_the_second_repository_runs(
    standins: dict[str, Standin], pictures: list[Image.Image]
) -> None:
    nomic = standins["nomic"]
    other = "f" * 40
    place = snapshot(nomic.home, "acme/nomic-code", other)
    shutil.copytree(snapshot(nomic.home, "acme/nomic-code", COMMITS["code"]), place)
    file = place / "modeling_hf_nomic_bert.py"
    file.write_text(file.read_text().replace("last_hidden_state=self", "last_hidden_state=-self"))
    before, after = loaded(nomic), loaded(nomic, code_revision=other)
    assert before.info.checkpoint_fp != after.info.checkpoint_fp
    assert after.info.code["acme/nomic-code"]["commit"] == other
    assert np.allclose(after.encode_images(pictures), -before.encode_images(pictures), atol=1e-6)


def test_the_card_gives_the_pins_back_but_no_trust(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    info = describe(EncoderSpec(**standin.job))
    info = EncoderInfo.from_card(json.loads(json.dumps(info.card())))
    assert {entry["commit"] for entry in info.code.values()} <= set(COMMITS.values())
    with pytest.raises(EncoderError, match="CLIPFLOW_TRUST_REMOTE_CODE=1"):
        describe(encoder_spec(info))
    monkeypatch.setenv("CLIPFLOW_TRUST_REMOTE_CODE", "1")
    assert describe(encoder_spec(info)).encoder_id == info.encoder_id


@pytest.fixture
def copy(standins: dict[str, Standin], tmp_path: Path) -> EncoderSpec:
    """EVA's stand-in in a local folder, which needs no revision."""
    folder = shutil.copytree(standins["eva"].folder, tmp_path / "copy")
    return EncoderSpec(model=str(folder), trust_remote_code=True, precision="fp32")


def test_a_local_folder_is_the_same_encoder(copy: EncoderSpec, standins: dict[str, Standin]) -> None:
    info = describe(copy)
    assert info.encoder_id == describe(EncoderSpec(**standins["eva"].job)).encoder_id
    assert info.code[copy.model]["commit"] is None
    with pytest.raises(EncoderError) as caught:
        describe(copy.model)
    assert "encoder.revision" not in caught.value.mend


@pytest.fixture
def pickled(copy: EncoderSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncoderSpec:
    """The same with its weights as EVA-CLIP-8B has them: shards of a pickle."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = Path(copy.model)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for shard, chosen in shards.items():
        torch.save({one: weights[one] for one in chosen}, folder / shard)
    index = {"metadata": {}, "weight_map": {one: shard for shard, chosen in shards.items() for one in chosen}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return copy


def test_pickled_weights_only_where_they_are_allowed(
    pickled: EncoderSpec, standins: dict[str, Standin], pictures: list[Image.Image]
) -> None:
    with pytest.raises(EncoderError, match="pickle can run any code") as caught:
        describe(pickled)
    assert "encoder.allow_pickle: true" in caught.value.mend
    allowed = pickled.model_copy(update={"allow_pickle": True})
    safe = loaded(standins["eva"])
    assert describe(allowed).encoder_id == safe.info.encoder_id
    # Once converted, and once found converted.
    for texts in (True, False):
        encoder = load_encoder(allowed, texts=texts)
        assert np.array_equal(encoder.encode_images(pictures), safe.encode_images(pictures))


def test_pickled_weights_of_the_hub(
    standins: dict[str, Standin], pickled: EncoderSpec, pictures: list[Image.Image]
) -> None:
    eva = standins["eva"]
    job = {**eva.job, "model": "acme/eva-pickled"}
    hub_layout(eva.home, "acme/eva-pickled", Path(pickled.model), COMMITS["main"])
    with pytest.raises(EncoderError, match="pickle can run any code"):
        describe(EncoderSpec(**job))
    encoder = load_encoder(EncoderSpec(**job, allow_pickle=True))
    assert encoder.info.encoder_id == describe(EncoderSpec(**eva.job)).encoder_id
    assert np.array_equal(encoder.encode_images(pictures), loaded(eva).encode_images(pictures))


class _Trap:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_code_in_a_pickle_never_runs_though_the_models_own_may(pickled: EncoderSpec, tmp_path: Path) -> None:
    torch.save({"logit_scale": _Trap(tmp_path / "ran")}, Path(pickled.model) / "pytorch_model-00002-of-00002.bin")
    with pytest.raises(EncoderError, match="tensors alone"):
        load_encoder(pickled.model_copy(update={"allow_pickle": True}))
    assert not (tmp_path / "ran").exists()


def test_weights_are_not_read_before_the_code_is_allowed(pickled: EncoderSpec, tmp_path: Path) -> None:
    for path in Path(pickled.model).glob("*.bin"):
        path.write_bytes(b"no pickle")
    with pytest.raises(EncoderError, match="trust_remote_code is off"):
        describe(pickled.model_copy(update={"allow_pickle": True, "trust_remote_code": False}))
    assert not (tmp_path / "cache").exists()


def test_other_code_is_another_encoder_and_never_runs_unseen(copy: EncoderSpec) -> None:
    before = describe(copy)
    file = Path(copy.model) / "modeling_evaclip.py"
    file.write_text(file.read_text() + "\nraise RuntimeError('ran')\n")
    assert describe(copy).checkpoint_fp != before.checkpoint_fp
    assert describe(copy).preprocess_fp == before.preprocess_fp
    from clipflow.encoders import remote_files

    with pytest.raises(EncoderError, match="another one than when"):
        remote_files.load(before, "fp32", "cpu")
    with pytest.raises(EncoderError, match="RuntimeError"):
        load_encoder(copy)


def test_code_that_asks_for_further_code_does_not_get_it(copy: EncoderSpec, standins: dict[str, Standin]) -> None:
    file = Path(copy.model) / "modeling_evaclip.py"
    wanted = (
        "        from transformers import AutoConfig\n"
        "        AutoConfig.from_pretrained('acme/flash-text', trust_remote_code=True)\n"
    )
    file.write_text(file.read_text().replace("        self.post_init()\n", wanted))
    with pytest.raises(EncoderError, match="acme/flash-code, which no commit is named for"):
        load_encoder(copy)


@pytest.mark.parametrize("change", ["rename", "shape", "nan"])
def test_weights_that_do_not_fit_are_refused(copy: EncoderSpec, change: str) -> None:
    weights = load_file(Path(copy.model) / "model.safetensors")
    name = "visual_projection.weight"
    value = weights.pop(name)
    if change != "rename":
        weights[name] = torch.full_like(value, float("nan")) if change == "nan" else value[:, :5].contiguous()
    save_file(weights, Path(copy.model) / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=name):
        load_encoder(copy)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"auto_map": {"AutoModel": "modeling.OtherModel"}}, "EvaCLIPModel, JinaCLIPModel, NomicVisionModel"),
        ({"auto_map": {"AutoModel": "absent.EvaCLIPModel"}}, r"lacks absent\.py"),
        ({"auto_map": {"AutoModel": "/etc--absent.EvaCLIPModel"}}, "no commit"),
        ({"auto_map": None}, "no auto_map"),
        ({"projection_dim": None}, "projection_dim"),
        ({"projection_dim": 99}, "do not fit"),
    ],
)
def test_files_that_do_not_fit_are_refused(copy: EncoderSpec, changes: dict[str, Any], said: str) -> None:
    edit_config(Path(copy.model), **changes)
    with pytest.raises(EncoderError, match=said):
        load_encoder(copy)


@pytest.mark.parametrize(
    ("called", "said"),
    [
        ("self.absent(pixel_values)", "does not run here"),
        ("self.visual_projection(self.vision_model(pixel_values=pixel_values)[1] * float('nan'))", "not finite"),
    ],
)
def test_code_that_gives_no_vectors_is_refused_at_load(copy: EncoderSpec, called: str, said: str) -> None:
    file = Path(copy.model) / "modeling_evaclip.py"
    own = "self.visual_projection(self.vision_model(pixel_values=pixel_values)[1])"
    assert own in file.read_text()
    file.write_text(file.read_text().replace(own, called))
    with pytest.raises(EncoderError, match=said):
        load_encoder(copy, texts=False)


@pytest.mark.parametrize("name", ["eva", "nomic"])
def test_preprocessing_that_is_not_the_documented_one_is_refused_at_load(
    standins: dict[str, Standin], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = read_geometry
    wrong = {"resample": 0, "image_mean": [0.1, 0.9, 0.5]}
    monkeypatch.setattr(
        "clipflow.encoders.remote_files.read_geometry", lambda config, kind: real({**config, **wrong}, kind)
    )
    with pytest.raises(EncoderError, match="its documented use makes"):
        loaded(standins[name])


def test_texts_that_change_in_company_are_refused_at_load(copy: EncoderSpec) -> None:
    file = Path(copy.model) / "modeling_evaclip.py"
    own = "states[torch.arange(len(states)), input_ids.argmax(-1)]"
    assert own in file.read_text()
    file.write_text(file.read_text().replace(own, "states.mean(1)"))
    with pytest.raises(EncoderError, match="vector of a text"):
        load_encoder(copy)


def test_vectors_of_another_length_are_refused(copy: EncoderSpec) -> None:
    file = Path(copy.model) / "modeling_evaclip.py"
    called = "self.visual_projection(self.vision_model(pixel_values=pixel_values)[1])"
    file.write_text(file.read_text().replace(called, called[len("self.visual_projection(") : -1]))
    with pytest.raises(EncoderError, match="not vectors of 16"):
        load_encoder(copy).encode_pixels(np.zeros((1, SIDE, SIDE, 3), np.uint8))


@pytest.mark.parametrize(
    ("changes", "squash", "filter"),
    [({}, None, "bicubic"), ({"resize_mode": "squash", "interpolation": "bilinear"}, (SIDE, SIDE), "bilinear")],
)
def test_jinas_processor_is_read_and_never_run(
    standins: dict[str, Standin], tmp_path: Path, changes: dict[str, Any], squash: object, filter: str
) -> None:
    jina = standins["jina"]
    folder = shutil.copytree(jina.folder, tmp_path / "copy")
    edit_config(folder, "preprocessor_config.json", **changes)
    spec = EncoderSpec(model=str(folder), trust_remote_code=True, code_revision=jina.code_revision)
    read = describe(spec).preprocess
    assert (read["squash"], read["filter"], read["std"][0]) == (squash, filter, 0.26862954)
    for wrong, said in (({"size": 48}, "mixed"), ({"resize_mode": "longest"}, "longest")):
        edit_config(folder, "preprocessor_config.json", **wrong)
        with pytest.raises(EncoderError, match=said):
            describe(spec)


@pytest.mark.parametrize("long", [SIDE + rest for rest in (1, 25, 26, 27, 29)])
@pytest.mark.parametrize("upright", [True, False])
def test_jinas_crop_is_rounded_as_torchvision_does(standins: dict[str, Standin], long: int, upright: bool) -> None:
    shape = (long, SIDE) if upright else (SIDE, long)
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    ours = load_preprocess(describe(EncoderSpec(**standins["jina"].job)))(rgb)
    # As torchvision.transforms.functional.center_crop has it.
    top, left = (round((full - SIDE) / 2.0) for full in shape)
    assert np.array_equal(ours, rgb[top : top + SIDE, left : left + SIDE])


def test_a_job_embeds_and_a_search_asks_again(
    standins: dict[str, Standin], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jina = standins["jina"]
    draw(tmp_path / "images", range(3))
    (tmp_path / "one.png").write_bytes(picture(1))
    table = tmp_path / "t.lance"
    with caplog.at_level(logging.WARNING):
        report = clipflow.run(job(tmp_path / "images", table, encoder=jina.job), ray="none").document()
    assert report["embedded"] == 3
    found = rows(table)
    theirs = authors_images(jina, [Image.open(tmp_path / f"images/{name:06}.png") for name in range(3)])
    ours = np.array([row["vector"] for row in sorted(found.values(), key=lambda row: str(row["source_uri"]))])
    assert (ours * theirs).sum(axis=1).min() >= 0.999
    with pytest.raises(EncoderError, match="CLIPFLOW_TRUST_REMOTE_CODE=1"):
        search(str(table), text="a cup of coffee", k=2)
    monkeypatch.setenv("CLIPFLOW_TRUST_REMOTE_CODE", "1")
    best = search(str(table), image=tmp_path / "one.png", k=1)
    assert best[0]["source_uri"].endswith("000001.png")


@pytest.mark.parametrize("name", ["eva", "jina"])
def test_openvino_gives_the_same_vectors(
    standins: dict[str, Standin], name: str, pictures: list[Image.Image], own_cache: None
) -> None:
    by_torch = loaded(standins[name])
    by_openvino = load_encoder(EncoderSpec(**standins[name].job), texts=False, compute=ComputeSpec(backend="openvino"))
    assert isinstance(by_openvino, OpenVINOEncoder)
    cosines = (by_torch.encode_images(pictures).astype(np.float64) * by_openvino.encode_images(pictures)).sum(axis=1)
    assert cosines.min() >= 0.9999


def test_code_that_counts_pictures_in_python_is_not_for_openvino(standins: dict[str, Standin], own_cache: None) -> None:
    with pytest.raises(EncoderError, match="keeps the number of pictures"):
        load_encoder(EncoderSpec(**standins["nomic"].job), texts=False, compute=ComputeSpec(backend="openvino"))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
