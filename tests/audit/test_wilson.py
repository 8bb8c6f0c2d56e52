"""The interval against published values, and against its definition."""

from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipflow.audit.wilson import Z, share, wilson


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_newcombe_1998_table_one(k: int, n: int, low: float, high: float) -> None:
    # R. G. Newcombe (1998), Statistics in Medicine 17, 857-872: method 3, the score method.
    found = wilson(k, n)
    assert found == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**7).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_its_ends_are_the_rates_that_the_count_just_does_not_exclude(counted: tuple[int, int]) -> None:
    k, n = counted
    rate = k / n
    low, high = wilson(k, n)
    assert low is not None
    assert high is not None
    assert 0 <= low <= rate <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(rate - end) == pytest.approx(Z * sqrt(end * (1 - end) / n), rel=1e-4, abs=1e-12)


def test_of_nothing_there_is_no_rate() -> None:
    assert share(0, 0) == {"k": 0, "n": 0, "rate": None, "low": None, "high": None}
