"""What is done around the loading of a model, whatever loads it."""

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Look for no cyclic garbage meanwhile, and give back the memory that is free afterwards.

    A library's modules and a model's parts are some hundred thousand objects, none of them garbage; walking them
    again and again is a tenth of what loading a small model costs. And weights are copied on their way, into another
    type and another layout: what the copies leave, the C library keeps, a fifth of all that such a process holds.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        _give_back()


def _give_back() -> None:
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)):  # glibc has it
        trim(0)
