"""Intervals, and the addresses a pattern has within one."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipflow.errors import IntervalError, JobFileError
from clipflow.interval import Interval, fixed_root, render

MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))


def test_naive_and_date_only_are_utc() -> None:
    wanted = Interval(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 2, 12, tzinfo=UTC))
    assert Interval.parse("2026-11-01", "2026-11-02T12:00") == wanted
    assert Interval.parse("2026-11-01T00:00:00Z", "20261102T120000+0000") == wanted
    assert Interval.parse("2026-11-01T01:00+01:00", "2026-11-02T07:00-05:00") == wanted


@pytest.mark.parametrize(
    ("start", "end"), [("2026-11-01", "2026-11-01"), ("2026-11-02", "2026-11-01"), ("soon", "2026-11-01")]
)
def test_no_interval_names_the_timetable(start: str, end: str) -> None:
    with pytest.raises(IntervalError) as caught:
        Interval.parse(start, end)
    assert "CronDataIntervalTimetable" in caught.value.mend
    assert caught.value.exit_code == 2


def test_naive_moments_make_no_interval() -> None:
    with pytest.raises(IntervalError):
        Interval(datetime(2026, 1, 1), datetime(2026, 1, 2))


@pytest.mark.parametrize(
    ("pattern", "start", "end", "wanted"),
    [
        ("dt=%Y-%m-%d/", "2026-02-27T23:59", "2026-03-01", ["dt=2026-02-27/", "dt=2026-02-28/"]),
        ("%Y/%m/", "2025-12-31", "2026-02-01", ["2025/12/", "2026/01/"]),
        ("%Y/", "2025-12-31T23:59:59.999999", "2026-01-01T00:00:00.000001", ["2025/", "2026/"]),
        ("%d/%H", "2026-01-01T22:30", "2026-01-02T01:00", ["01/22", "01/23", "02/00"]),
        ("%j", "2024-12-30", "2025-01-02", ["365", "366", "001"]),
        ("%G-W%V", "2025-12-28", "2026-01-05", ["2025-W52", "2026-W01"]),
        ("100%%/%H%M", "2026-01-01T00:59", "2026-01-01T01:01", ["100%/0059", "100%/0100"]),
        (
            "%A",
            "2026-11-02",
            "2026-11-20",
            ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
        ),
        ("%Y", "9998-01-01", "9999-12-31", ["9998", "9999"]),
    ],
)
def test_render(pattern: str, start: str, end: str, wanted: list[str]) -> None:
    assert render(pattern, Interval.parse(start, end)) == wanted


@pytest.mark.parametrize("pattern", ["plain/", "100%%", "a%20b/%Y", "%f", "%", "%z"])
def test_a_wrong_pattern_is_an_error_of_the_job_file(pattern: str) -> None:
    with pytest.raises(JobFileError) as caught:
        render(pattern, Interval.parse("2026-01-01", "2026-01-02"))
    assert caught.value.mend


def test_too_many_steps_are_refused() -> None:
    with pytest.raises(JobFileError):
        render("%S", Interval.parse("2026-01-01", "2027-01-01"))


@given(MOMENTS, st.timedeltas(timedelta(microseconds=1), timedelta(days=40)), st.data())
def test_every_moment_of_the_interval_lies_under_a_rendered_path(
    start: datetime, length: timedelta, data: st.DataObject
) -> None:
    interval = Interval(start, start + length)
    at = start + data.draw(st.timedeltas(timedelta(0), length - timedelta(microseconds=1)))
    for pattern in ("%Y", "%Y-%m", "%Y/%m/%d", "%Y%m%dT%H", "%Y-%j", "%Y w%U", "%G-%V"):
        rendered = render(pattern, interval)
        assert at.strftime(pattern) in rendered
        assert len(set(rendered)) == len(rendered)
        assert rendered[0] == start.strftime(pattern)
        assert rendered[-1] == (interval.end - timedelta(microseconds=1)).strftime(pattern)


@given(MOMENTS, st.integers(-14, 14))
def test_render_is_in_utc_whatever_the_zone(start: datetime, hours: int) -> None:
    zone = timezone(timedelta(hours=hours))
    end = start + timedelta(days=2)
    assert render("%Y%m%d%H", Interval(start.astimezone(zone), end.astimezone(zone))) == render(
        "%Y%m%d%H", Interval(start, end)
    )


def test_fixed_root() -> None:
    assert fixed_root("s3://b/x/dt=%Y/") == "s3://b/x/"
    assert fixed_root("/data/%%/%Y") == "/data/%/"
    assert fixed_root("%Y/x") == ""
