"""Switches: Pillow's pixel limit and its warnings, off while images are decoded and never for longer."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

_guard = threading.Lock()
_inside = 0
_undo: Iterator[None] | None = None


@contextmanager
def own_limits() -> Iterator[None]:
    """Keep Pillow's pixel limit and its warnings out of the outcome, from the first thread inside to the last.

    Both are switches of the whole process, so they are counted rather than nested: nested switches
    of two threads that overlap would be put back in the wrong order.
    """
    global _inside, _undo
    with _guard:
        _inside += 1
        if _inside == 1:
            _undo = _quiet()
            next(_undo)
    try:
        yield
    finally:
        with _guard:
            _inside -= 1
            if _inside == 0 and _undo is not None:
                next(_undo, None)
                _undo = None


def _quiet() -> Iterator[None]:
    limit: Any = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        Image.MAX_IMAGE_PIXELS = None
        yield
    Image.MAX_IMAGE_PIXELS = limit
