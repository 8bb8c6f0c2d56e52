"""Data intervals, and the runs that have none."""

from datetime import UTC, datetime

import pendulum
import pytest
from airflow.sdk import Context

from clipflow.errors import IntervalError
from clipflow.interval import Interval
from clipflow_airflow.window import interval_of

START, END = datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 3, tzinfo=UTC)
DAY = Interval(START, END)
SCHEDULED = Context(data_interval_start=pendulum.instance(START), data_interval_end=pendulum.instance(END))


@pytest.mark.parametrize("window", ["modified", "path"])
def test_the_data_interval_fills_the_window(window: str) -> None:
    found = interval_of(SCHEDULED, window, None)
    assert found == DAY
    assert type(found.start) is datetime


def test_window_all_has_no_interval() -> None:
    assert interval_of(SCHEDULED, "all", None) is None


def test_a_given_interval_goes_first() -> None:
    assert interval_of(SCHEDULED, "modified", ("2026-11-01", "2026-11-02")) == Interval.parse(
        "2026-11-01", "2026-11-02"
    )
    assert interval_of(SCHEDULED, "modified", ("", "")) is None


def test_a_run_without_interval() -> None:
    assert interval_of(Context(), "modified", None) is None
    with pytest.raises(IntervalError, match="CronDataIntervalTimetable"):
        interval_of(Context(), "path", None)


def test_an_empty_interval_names_the_timetable() -> None:
    empty = Context(data_interval_start=pendulum.instance(END), data_interval_end=pendulum.instance(END))
    with pytest.raises(IntervalError, match="CronDataIntervalTimetable"):
        interval_of(empty, "modified", None)
