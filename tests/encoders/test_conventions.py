"""Every way of resizing and cropping against its authors' or transformers' code, over real photographs."""

import io
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from skimage import data as skimage_data

from benchmarks.conventions import conventions
from benchmarks.photographs import SIZES, draw
from clipflow.decode import decode
from clipflow.encoders.preprocess import Resize
from tests.pictures import photographs

Pixels = npt.NDArray[np.uint8]
CONVENTIONS = conventions()


@cache
def originals() -> dict[str, Pixels]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        more = {name: getattr(skimage_data, name)() for name in ("chelsea", "rocket", "retina", "hubble_deep_field")}
    return {**photographs(), **{name: np.ascontiguousarray(rgb) for name, rgb in more.items()}}


def levels(convention: str, rgb: Pixels) -> int:
    chosen = CONVENTIONS[convention]
    made, reference = Resize(chosen.geometry)(rgb).astype(int), chosen.reference(rgb).astype(int)
    assert made.shape == reference.shape
    return int(np.abs(made - reference).max())


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("name", sorted(originals()))
def test_photographs_as_they_are(name: str, convention: str) -> None:
    rgb = originals()[name]
    for turned in (rgb, np.ascontiguousarray(rgb.transpose(1, 0, 2))):
        assert levels(convention, turned) <= 1


@pytest.mark.parametrize("size", SIZES)
def test_photographs_as_cameras_and_shops_give_them(size: str, tmp_path: Path) -> None:
    draw(tmp_path / size, 24 if size == "640x480" else 8, SIZES[size], seed=4)
    for path in sorted((tmp_path / size).iterdir()):
        rgb = decode(path.read_bytes(), 10**8).rgb
        for convention in CONVENTIONS:
            assert levels(convention, rgb) <= 1, (path.name, convention)


@pytest.mark.parametrize("shortest", [256, 300, 340, 384, 420, 448, 449, 470, 512, 600, 673])
def test_photographs_that_shrink_a_little(shortest: int) -> None:
    for rgb in originals().values():
        scale = shortest / min(rgb.shape[:2])
        size = (max(shortest, round(rgb.shape[1] * scale)), max(shortest, round(rgb.shape[0] * scale)))
        picture = Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS)
        grained = np.asarray(picture, np.int16) + np.random.default_rng(shortest).normal(0, 4, (size[1], size[0], 3))
        for convention in ("shortest edge, crop (CLIP)", "squash (SigLIP)", "256, crop 224 (DINOv2)"):
            assert levels(convention, np.clip(grained, 0, 255).astype(np.uint8)) <= 1, convention


def test_from_the_file_on() -> None:
    for name, rgb in originals().items():
        out = io.BytesIO()
        Image.fromarray(rgb).save(out, "JPEG", quality=90)
        ours = Resize(CONVENTIONS["squash (SigLIP)"].geometry)(decode(out.getvalue(), 10**8).rgb)
        theirs = CONVENTIONS["squash (SigLIP)"].reference(np.asarray(Image.open(out)))
        # Both decoders are libjpeg-turbo, and each rounds colours once.
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1, name
