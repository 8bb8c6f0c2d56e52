"""Pixel measures against the libraries that define them."""

import tracemalloc

import imagehash
import numpy as np
import numpy.typing as npt
import pytest
import scipy.fft
import scipy.ndimage
import skimage.measure
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipflow.measures import measure, shrink
from tests.examples import examples
from tests.pictures import photographs


def _noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _agrees(rgb: npt.NDArray[np.uint8]) -> None:
    grey = Image.fromarray(rgb).convert("L")
    got = measure(rgb, 1000)
    edges = scipy.ndimage.laplace(np.asarray(grey, np.float64), mode="mirror")
    assert got["blur"] == pytest.approx(edges.var(), rel=1e-9, abs=1e-9)
    assert got["entropy"] == pytest.approx(skimage.measure.shannon_entropy(np.asarray(grey)), abs=1e-9)
    assert not ((_bits(str(got["phash"])) != _bits(str(imagehash.phash(grey)))) & ~_ties(grey)).any()


def _bits(phash: str) -> npt.NDArray[np.uint8]:
    return np.unpackbits(np.frombuffer(bytes.fromhex(phash), np.uint8))


def _ties(grey: Image.Image) -> npt.NDArray[np.bool_]:
    """The bits that rounding noise decides in imagehash: their coefficients equal the median in exact arithmetic."""
    small = np.asarray(grey.resize((32, 32), Image.Resampling.LANCZOS), np.float64)
    low = scipy.fft.dctn(small, type=2)[:8, :8].ravel()
    tied: npt.NDArray[np.bool_] = np.abs(low - np.median(low)) < 1e-5
    return tied


@pytest.mark.parametrize("name", sorted(photographs()))
def test_photographs_agree_with_the_reference_libraries(name: str) -> None:
    _agrees(photographs()[name])
    assert not _ties(Image.fromarray(photographs()[name]).convert("L")).any()


def test_a_large_photograph_agrees() -> None:
    picture = Image.fromarray(photographs()["flower"]).resize((2003, 1507))
    _agrees(np.asarray(picture))


@pytest.mark.parametrize(
    ("height", "width"),
    [(512, 512), (513, 677), (1000, 999), (1400, 777), (2000, 777), (300, 3001), (17, 16384), (17, 20000)],
)
def test_shrinking_is_pillows_to_the_last_bit(height: int, width: int) -> None:
    extremes = _noise(height, width)[:, :, 0]
    extremes[::2] = (extremes[::2] > 127) * 255  # Sums beyond a byte are clipped between the passes.
    theirs = Image.fromarray(extremes).resize((32, 32), Image.Resampling.LANCZOS)
    assert (shrink(extremes) == np.asarray(theirs)).all()


@examples(25)
@given(height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 2**32))
def test_noise_of_any_size_agrees(height: int, width: int, seed: int) -> None:
    _agrees(_noise(height, width, seed))


def test_shape_measures() -> None:
    got = measure(_noise(30, 120), 7200)
    assert got["min_side"] == 30.0
    assert got["aspect_ratio"] == 4.0
    assert got["megapixels"] == pytest.approx(0.0036)
    assert got["bytes_per_pixel"] == 2.0
    assert measure(_noise(120, 30), 7200)["aspect_ratio"] == 4.0


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 1), (1, 2)])
def test_lines_and_points(shape: tuple[int, int]) -> None:
    got = measure(_noise(*shape), 10)
    assert all(np.isfinite(value) for value in got.values() if isinstance(value, float))
    assert len(str(got["phash"])) == 16


def test_a_plain_picture_has_no_detail() -> None:
    got = measure(np.full((64, 48, 3), 77, np.uint8), 100)
    assert (got["blur"], got["entropy"]) == (0.0, 0.0)


def test_a_mirrored_picture_hashes_otherwise() -> None:
    rgb = photographs()["astronaut"]
    assert measure(rgb, 1)["phash"] != measure(np.ascontiguousarray(rgb[:, ::-1]), 1)["phash"]


@pytest.mark.parametrize("shape", [(1, 3_000_000), (3_000_000, 1)])
def test_a_line_of_millions_needs_little_memory(shape: tuple[int, int]) -> None:
    rgb = np.ascontiguousarray(np.broadcast_to(_noise(1, 1000).reshape(1000, 3), (3000, 1000, 3))).reshape(*shape, 3)
    tracemalloc.start()
    got = measure(rgb, 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * rgb.nbytes
    edges = scipy.ndimage.laplace(np.asarray(Image.fromarray(rgb).convert("L"), np.float64), mode="mirror")
    assert got["blur"] == pytest.approx(edges.var(), rel=1e-9)
