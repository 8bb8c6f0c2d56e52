"""From figures to places on a drawing."""

from collections.abc import Callable
from math import ceil, floor, log10

Scale = Callable[[float], float]


def scale(low: float, high: float, left: float, right: float) -> Scale:
    """Places of `low` to `high` between `left` and `right`; in the middle where they are equal."""
    if high <= low:
        return lambda value: (left + right) / 2
    return lambda value: left + (value - low) / (high - low) * (right - left)


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from `low` to `high`, about so many: steps of 1, 2 or 5 times a power of ten."""
    if high <= low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** floor(log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [at * step for at in range(first, last + 1)]


def short(value: float) -> str:
    """A number with few digits."""
    return f"{value:.4g}" if value else "0"
