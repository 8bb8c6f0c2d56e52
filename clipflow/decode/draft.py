"""Draft: a JPEG decoded at a half, a quarter or an eighth of its size, where that is still twice what is needed.

libjpeg then computes no pixels that resizing would only average away. It can scale by other eighths too, but those
take its slow transforms and differ three to five times as much.
"""

from collections.abc import Callable
from typing import Any

MARGIN = 2
"""How many times the size after resizing a draft is, at least, along both edges."""

SHARES = (8, 4, 2)

DRAFT_POLICY: dict[str, Any] = {"decode": "draft", "formats": ["image/jpeg"], "margin": MARGIN, "shares": [*SHARES]}
"""What differs from `DECODE_POLICY`; goes into `preprocess_fp`, so a changed word is a changed encoder."""

Needed = Callable[[int, int], tuple[int, int]]
"""From (height, width) of a picture to (height, width) that it is resized to, before any crop."""


def share(height: int, width: int, needed: tuple[int, int]) -> int:
    """The denominator of the scale that a picture is decoded at: 8, 4, 2, or 1 for all of it."""
    for one in SHARES:
        # Of fewer pixels two scales of libjpeg's can make the same number.
        if all(full >= one * max(MARGIN * kept, 8) for full, kept in zip((height, width), needed, strict=True)):
            return one
    return 1
