"""Loaders of other packages come in by their entry point; the stub of these tests is one."""

from pathlib import Path

import numpy as np
import pytest

from clipflow.encoders import describe, load_encoder, load_preprocess
from clipflow.encoders.registry import names
from clipflow.errors import EncoderError
from clipflow.spec import EncoderSpec

PLUGIN = Path(__file__).parent.parent / "plugins" / "stub_encoder"


@pytest.fixture(autouse=True)
def _plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PLUGIN))


def test_a_plugin_is_found_by_name_and_by_prefix() -> None:
    assert names() == ["open-clip", "remote", "stub", "transformers"]
    by_name = describe(EncoderSpec(model="stub:dim=8", loader="stub"))
    assert by_name == describe("stub:dim=8")
    assert by_name.dim == 8


def test_the_stub_encodes() -> None:
    encoder = load_encoder("stub:nan=1")
    preprocess = load_preprocess(encoder.info)
    made = [np.full((20, 30, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 0))]
    vectors = encoder.encode_pixels(np.stack([preprocess(rgb) for rgb in made]))
    assert np.isnan(vectors[1]).all()
    assert vectors[0] @ encoder.encode_texts(["something red"])[0] == pytest.approx(1, abs=1e-6)
    assert encoder.encode_texts([]).shape == (0, 16)


def test_a_pause_changes_nothing_but_time() -> None:
    assert describe("stub:ms=5").encoder_id == describe("stub:").encoder_id


def test_an_unknown_loader_names_those_there_are() -> None:
    with pytest.raises(EncoderError, match="open-clip, remote, stub, transformers"):
        describe(EncoderSpec(model="x/y", loader="onnx"))
