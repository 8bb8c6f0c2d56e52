"""The interval of a share that was counted."""

from math import sqrt

Z = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


def wilson(k: int, n: int) -> tuple[float | None, float | None]:
    """The 95 % score interval of `k` of `n`, both ends in [0, 1]; None, None when `n` is 0.

    Source: E. B. Wilson (1927), Probable inference, the law of succession, and statistical inference,
    Journal of the American Statistical Association 22, 209-212; without continuity correction.
    """
    if n == 0:
        return None, None
    rate, square = k / n, Z * Z
    centre = (rate + square / (2 * n)) / (1 + square / n)
    half = Z * sqrt(rate * (1 - rate) / n + square / (4 * n * n)) / (1 + square / n)
    # The ends of none and of all are exact; rounding would leave them a hair beside.
    return (0.0 if k == 0 else centre - half), (1.0 if k == n else centre + half)


def share(k: int, n: int) -> dict[str, float | int | None]:
    """`k` of `n` as plain data: {k, n, rate, low, high}; rate and interval are None when `n` is 0."""
    low, high = wilson(k, n)
    return {"k": k, "n": n, "rate": k / n if n else None, "low": low, "high": high}
