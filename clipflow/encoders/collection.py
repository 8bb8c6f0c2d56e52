"""Loading without looking for garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """No cyclic garbage is looked for meanwhile, where it is at all.

    A library's modules and a model's parts are some hundred thousand objects, none of them garbage; walking them
    again and again is a tenth of what loading a small model costs.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
