"""Python's garbage collector is as it was found, whatever loading comes to."""

import gc

import pytest

from clipflow.encoders import load_encoder
from clipflow.encoders.collection import paused_collection
from clipflow.errors import EncoderError


@pytest.fixture(autouse=True)
def _enabled():
    yield
    gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    gc.enable() if enabled else gc.disable()
    with paused_collection():
        assert not gc.isenabled()
        with paused_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled() is enabled


def test_a_failed_load_leaves_it_enabled() -> None:
    with pytest.raises(EncoderError):
        load_encoder("demo", precision="int3")
    assert gc.isenabled()
    load_encoder("demo", texts=False)
    assert gc.isenabled()
