"""JSON as the contract has it."""

import json
import math
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipflow.documents import to_json

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.text("\u2028\u2029\x85\n\r\x0b\x1c")
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20
)


def expected(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [expected(item) for item in value]
    if isinstance(value, dict):
        return {key: expected(item) for key, item in value.items()}
    return value


@given(VALUES)
def test_plain_data_comes_back_with_null_for_what_is_no_number(value: Any) -> None:
    assert json.loads(to_json(value)) == expected(value)


@given(VALUES)
def test_a_document_is_one_line_of_ascii(value: Any) -> None:
    text = to_json(value)
    assert text.splitlines() == [text]
    assert text.isascii()


def test_a_name_that_is_not_utf8_can_be_printed() -> None:
    assert json.loads(to_json("\udcff.lance").encode("utf-8")) == "\udcff.lance"


@given(st.datetimes(min_value=datetime(1000, 1, 2), max_value=datetime(9999, 12, 30)), st.integers(-14 * 60, 14 * 60))
def test_times_end_in_z_and_are_the_same_moment(naive: datetime, offset: int) -> None:
    aware = naive.replace(tzinfo=timezone(timedelta(minutes=offset)))
    written = json.loads(to_json(aware))
    assert written.endswith("Z")
    assert datetime.fromisoformat(written) == aware
    assert json.loads(to_json(naive)) == json.loads(to_json(naive.replace(tzinfo=UTC)))


@given(st.lists(st.floats(width=16), max_size=8))
def test_vectors_are_lists_of_numbers(values: list[float]) -> None:
    vector = np.array(values, np.float16)
    assert json.loads(to_json({"vector": vector})) == {"vector": expected([float(item) for item in vector])}


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float32(1.5), 1.5),
        (np.float32("nan"), None),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.datetime64("2026-11-01T00:00:00", "us"), "2026-11-01T00:00:00Z"),
        (np.array([[1, 2]]), [[1, 2]]),
        (np.array(3), 3),
        (Decimal("1.25"), 1.25),
        (Decimal("NaN"), None),
        (date(2026, 11, 1), "2026-11-01"),
        (timedelta(minutes=1), 60.0),
        (b"\x00\xff", "00ff"),
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        ({"one"}, ["one"]),
    ],
)
def test_other_values(value: Any, written: Any) -> None:
    assert json.loads(to_json(value)) == written
