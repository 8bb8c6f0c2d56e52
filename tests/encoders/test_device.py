"""How pictures reach a device: the logic that GPUs need, on the CPU."""

import threading
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clipflow.encoders import Encoder, load_encoder
from clipflow.encoders.device import Feed, has_many_convolutions
from clipflow.encoders.torch_towers import TorchEncoder
from clipflow.spec import ComputeSpec
from tests.families import Families
from tests.tiny_models import SIDE

CPU = torch.device("cpu")


def sums(raw: torch.Tensor) -> torch.Tensor:
    return raw.double().sum((1, 2, 3))[:, None]


def model_of(encoder: Encoder) -> torch.nn.Module:
    assert isinstance(encoder, TorchEncoder)
    model: torch.nn.Module = encoder.model
    return model


def pictures(count: int, side: int = 4) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, side, side, 3), np.uint8)


@given(count=st.integers(1, 40), size=st.integers(1, 17))
def test_every_batch_has_one_shape_and_every_picture_its_place(count: int, size: int) -> None:
    pixels, shapes = pictures(count), []

    def compute(raw: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(raw.shape))
        return sums(raw)

    made = Feed(CPU, size)(pixels, compute)
    assert torch.equal(made, sums(torch.from_numpy(pixels)))
    assert set(shapes) == {(size, 4, 4, 3)}
    assert len(shapes) == -(-count // size)


def test_pictures_of_another_size_get_buffers_of_their_own() -> None:
    feed = Feed(CPU, 3)
    for pixels in (pictures(5, 4), pictures(5, 6), pictures(2, 4)):
        assert torch.equal(feed(pixels, sums), sums(torch.from_numpy(pixels)))


def test_what_fills_a_batch_is_not_seen() -> None:
    feed = Feed(CPU, 4)
    feed(np.full((4, 2, 2, 3), 255, np.uint8), sums)
    seen = []

    def compute(raw: torch.Tensor) -> torch.Tensor:
        seen.append(raw.clone())
        return sums(raw)

    feed(np.ones((1, 2, 2, 3), np.uint8), compute)
    assert (seen[0][0] == 1).all()
    assert (seen[0][1:] == 0).all()


def test_without_a_size_pictures_pass_as_they_are() -> None:
    shapes = []

    def compute(raw: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(raw.shape))
        return sums(raw)

    Feed(CPU)(pictures(7), compute)
    assert shapes == [(7, 4, 4, 3)]


def test_threads_do_not_mix_pictures() -> None:
    feed, wrong = Feed(CPU, 2), []

    def work(seed: int) -> None:
        pixels = np.random.default_rng(seed).integers(0, 256, (5, 16, 16, 3), np.uint8)
        wrong.extend([seed] * (not torch.equal(feed(pixels, sums), sums(torch.from_numpy(pixels)))))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_transformer_has_one_convolution_and_a_convnext_many(families: Families) -> None:
    assert not has_many_convolutions(model_of(families.encoder("clip")))
    convnext = model_of(families.encoder("dinov3_convnext"))
    assert has_many_convolutions(convnext)
    weights = [one.weight for one in convnext.modules() if isinstance(one, torch.nn.Conv2d)]
    assert all(one.is_contiguous(memory_format=torch.channels_last) for one in weights)


@pytest.mark.parametrize("batch_size", [3, "auto"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore::FutureWarning:torch")
def test_compiled_the_same_vectors(
    clip_folder: Path, batch_size: int | Literal["auto"], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Captures the graph and runs it as it is: generating code takes minutes, and is torch's own affair.
    monkeypatch.setattr("clipflow.encoders.torch_towers.COMPILER", "aot_eager")
    pixels = pictures(8, SIDE)
    plain = load_encoder(str(clip_folder), precision="fp32", texts=False)
    spec = ComputeSpec(compile=True, batch_size=batch_size)
    tuned = load_encoder(str(clip_folder), precision="fp32", texts=False, compute=spec)
    made = tuned.encode_pixels(pixels)
    assert made.shape == (8, plain.info.dim)
    assert (made * plain.encode_pixels(pixels)).sum(1).min() > 0.99999
