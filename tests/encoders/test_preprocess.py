"""Resize and crop against the image processors of transformers, and what extreme shapes cost."""

import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from clipflow.encoders.fingerprint import preprocess_fp
from clipflow.encoders.geometry import Geometry, read_geometry
from clipflow.encoders.preprocess import Resize
from clipflow.errors import EncoderError
from tests.examples import examples
from tests.pictures import photographs

Pixels = npt.NDArray[np.uint8]

_CLASSES = {"clip": CLIPImageProcessorPil, "siglip": SiglipImageProcessorPil}
CONFIGS: list[tuple[str, dict[str, Any]]] = [
    ("clip", {}),
    ("clip", {"size": {"shortest_edge": 32}, "crop_size": {"height": 24, "width": 30}}),
    ("clip", {"size": {"shortest_edge": 20}, "crop_size": {"height": 33, "width": 28}}),
    ("clip", {"size": {"shortest_edge": 31}, "crop_size": {"height": 31, "width": 31}, "resample": 2}),
    ("clip", {"size": {"shortest_edge": 31}, "crop_size": {"height": 31, "width": 31}, "resample": 1}),
    ("clip", {"do_resize": False, "crop_size": {"height": 31, "width": 40}}),
    ("clip", {"size": {"height": 40, "width": 44}, "do_center_crop": False}),
    ("siglip", {}),
    ("siglip", {"size": {"height": 50, "width": 20}, "resample": 2}),
]


def _noise(height: int, width: int, kind: str, seed: int) -> Pixels:
    chance = np.random.default_rng(seed)
    shape = {"noise": (height, width, 3), "stark": (height, width, 3), "rows": (height, 1, 1), "columns": (1, width, 3)}
    made = chance.integers(0, 256, shape[kind], np.uint8)
    if kind != "noise":
        made = np.where(made < 128, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(made, (height, width, 3)))


def _off_by(rgb: Pixels, family: str, config: dict[str, Any]) -> int:
    """Grey levels between ours and the processor's, at the worst pixel."""
    ours = Resize(read_geometry(config, family))(rgb)
    processor = _CLASSES[family](**config)
    made = processor(Image.fromarray(rgb), do_rescale=False, do_normalize=False, return_tensors="np")
    theirs = np.moveaxis(made["pixel_values"][0], 0, -1)
    assert ours.dtype == np.uint8
    assert ours.shape == theirs.shape
    return int(np.abs(ours.astype(int) - theirs.astype(int)).max())


sides = st.one_of(st.integers(1, 8), st.integers(1, 80), st.integers(1, 700))


@examples(60)
@given(
    height=sides,
    width=sides,
    kind=st.sampled_from(["noise", "stark", "rows", "columns"]),
    seed=st.integers(0, 1000),
    config=st.sampled_from(CONFIGS),
)
@example(height=515, width=188, kind="stark", seed=0, config=CONFIGS[7])
@example(height=1, width=1, kind="noise", seed=0, config=CONFIGS[0])
@example(height=1, width=500, kind="noise", seed=0, config=CONFIGS[0])
@example(height=3000, width=2, kind="noise", seed=0, config=CONFIGS[0])
@example(height=2, width=3000, kind="stark", seed=0, config=CONFIGS[7])
def test_within_one_grey_level_at_any_size(
    height: int, width: int, kind: str, seed: int, config: tuple[str, dict[str, Any]]
) -> None:
    assert _off_by(_noise(height, width, kind, seed), *config) <= 1


@pytest.mark.parametrize("name", sorted(photographs()))
@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize("turned", [False, True])
def test_photographs_are_within_one_grey_level(name: str, family: str, turned: bool) -> None:
    rgb = photographs()[name]
    assert _off_by(np.ascontiguousarray(rgb.transpose(1, 0, 2)) if turned else rgb, family, {}) <= 1


@pytest.mark.parametrize("shape", [(480, 640), (333, 500), (700, 90), (65, 97), (20, 30)])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_pixels_are_pillows_own_where_that_is_asked(shape: tuple[int, int], family: str) -> None:
    configs: dict[str, dict[str, Any]] = {
        "clip": {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
        "siglip": {"size": {"height": 32, "width": 32}},
    }
    rgb, config = _noise(*shape, "noise", 0), configs[family]
    made = _CLASSES[family](**config)(Image.fromarray(rgb), do_rescale=False, do_normalize=False, return_tensors="np")
    ours = Resize(read_geometry(config, family), exact=True)(rgb)
    assert np.array_equal(ours, np.moveaxis(made["pixel_values"][0], 0, -1))


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize("shape", [(1, 10_000_000), (10_000_000, 1)])
def test_a_line_of_ten_million_pixels_needs_little_memory(family: str, shape: tuple[int, int]) -> None:
    rgb = np.zeros((*shape, 3), np.uint8)
    rgb[...] = 90
    tracemalloc.start()
    made = Resize(read_geometry({}, family))(rgb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert made.shape == (224, 224, 3)
    assert (made == 90).all()
    assert peak < 2 * rgb.nbytes


def test_a_shared_tile_edge_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = _noise(3, 5000, "noise", 1)
    whole = Resize(read_geometry({"resample": 1}, "siglip"))(rgb)
    monkeypatch.setattr("clipflow.encoders.preprocess._WEIGHTS", 2000)
    assert np.array_equal(Resize(read_geometry({"resample": 1}, "siglip"))(rgb), whole)


def test_a_read_only_picture_will_do() -> None:
    rgb = photographs()["china"].copy()
    rgb.setflags(write=False)
    assert Resize(read_geometry({}, "clip"))(rgb).shape == (224, 224, 3)


def test_old_spellings_mean_the_same() -> None:
    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 224, "crop_size": 224, "resample": 3}
    new = {"image_processor_type": "CLIPImageProcessorFast", "size": {"shortest_edge": 224, "longest_edge": None}}
    assert read_geometry(old, "clip") == read_geometry(new, "clip")


def test_equal_computations_have_equal_fingerprints() -> None:
    squashed = {"size": {"height": 224, "width": 224}, "do_center_crop": False, "image_mean": [0.5] * 3}
    as_clip = read_geometry({**squashed, "image_std": [0.5] * 3, "image_processor_type": "CLIPImageProcessor"}, "clip")
    as_siglip = read_geometry({"image_processor_type": "SiglipImageProcessor"}, "siglip")
    assert preprocess_fp(as_clip) == preprocess_fp(as_siglip)
    assert preprocess_fp(as_clip) != preprocess_fp(read_geometry({}, "clip"))


def test_the_body_survives_json() -> None:
    import json

    geometry = read_geometry({}, "clip")
    assert Geometry.from_body(json.loads(json.dumps(geometry.body()))) == geometry


def test_the_body_says_nothing_of_what_is_as_usual() -> None:
    assert set(read_geometry({}, "clip").body()) == {"shortest", "squash", "crop", "filter", "scale", "mean", "std"}


@pytest.mark.parametrize("shape", [(9, 40), (40, 9), (7, 7), (1, 500), (500, 1)])
def test_a_picture_fitted_into_a_box_stands_in_the_middle(shape: tuple[int, int]) -> None:
    usual = read_geometry({"crop_size": {"height": 20, "width": 30}}, "clip")
    inside = replace(usual, shortest=None, contain=(20, 30), fill=127, centre="torchvision")
    assert Geometry.from_body(inside.body()) == inside
    made = Resize(inside)(np.full((*shape, 3), 250, np.uint8))
    assert made.shape == (20, 30, 3)
    filled = np.argwhere(made[..., 0] == 250)
    (top, left), (bottom, right) = filled.min(0), filled.max(0)
    assert (made == 127).sum() + (made == 250).sum() == made.size
    assert (top, bottom) == (0, 19) or (left, right) == (0, 29)
    # Of an odd rest the larger half is below and to the right.
    assert 0 <= (19 - bottom) - top <= 1
    assert 0 <= (29 - right) - left <= 1


@pytest.mark.parametrize(
    "config",
    [
        {"do_center_crop": False},
        {"do_resize": False, "do_center_crop": False},
        {"size": {"longest_edge": 224}},
        {"resample": 9},
        {"do_pad": True},
        {"image_processor_type": "EfficientNetImageProcessor"},
        {"image_mean": [0.5]},
    ],
)
def test_what_is_not_computed_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(EncoderError):
        read_geometry(config, "clip")
