"""The set of places behaves as a set of numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clipflow.table.places import PlaceSet, firsts

PLACES = st.lists(st.integers(0, 3_000), max_size=30)


@given(st.lists(PLACES, max_size=8), PLACES)
def test_it_holds_what_was_added(added: list[list[int]], asked: list[int]) -> None:
    places = PlaceSet()
    for group in added:
        places.add(np.array(group, np.int64))
    held = set().union(*added)
    assert places.holds(np.array(asked, np.int64)).tolist() == [place in held for place in asked]


@given(PLACES)
def test_the_first_of_each_place(places: list[int]) -> None:
    seen: set[int] = set()
    expected = [not (place in seen or seen.add(place)) for place in places]  # type: ignore[func-returns-value]
    assert firsts(np.array(places, np.int64)).tolist() == expected
