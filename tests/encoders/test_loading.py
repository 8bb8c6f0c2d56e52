"""After loading the garbage collector is as it was found, and free memory is the system's again."""

import gc
from collections.abc import Iterator

import numpy as np
import psutil
import pytest

from clipflow.encoders import load_encoder
from clipflow.encoders.loading import loading
from clipflow.errors import EncoderError


@pytest.fixture(autouse=True)
def _enabled() -> Iterator[None]:
    yield
    gc.enable()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled: bool) -> None:
    gc.enable() if enabled else gc.disable()
    with loading():
        assert not gc.isenabled()
        with loading():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled() is enabled


def test_a_failed_load_leaves_it_enabled() -> None:
    with pytest.raises(EncoderError):
        load_encoder("demo", precision="int3")
    assert gc.isenabled()
    load_encoder("demo", texts=False)
    assert gc.isenabled()


def test_what_copies_left_is_given_back() -> None:
    """Blocks this small are not returned by being freed while a later one is in use."""
    held = psutil.Process().memory_info
    with loading():
        blocks = [np.ones(8_000) for _ in range(2_000)]
        last = np.ones(8_000)
        full = held().rss
        blocks.clear()
    assert full - held().rss > 100e6
    assert last.all()
