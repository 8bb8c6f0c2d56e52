"""Intervals of time, half-open and in UTC, and the addresses that a pattern has within one."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from clipflow.errors import IntervalError, JobFileError

_DIRECTIVE = re.compile(r"%-?(.?)", re.DOTALL)
# What each directive tells apart, finest first. Weeks step by days: every day knows its week.
_FINEST = (
    ("second", "STXcs"),
    ("minute", "MR"),
    ("hour", "HIpkl"),
    ("day", "djaAwueDFxUWV"),
    ("month", "mbBh"),
    ("year", "YyCGg"),
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STILL = "%zZ"
# Directives that are always written with so many digits.
_DIGITS = {"Y": "[0-9]" * 4, "j": "[0-9]" * 3, **dict.fromkeys("mdHMSy", "[0-9]" * 2)}
_STEP = {unit: timedelta(**{f"{unit}s": 1}) for unit in ("second", "minute", "hour", "day")}
_MOST_STEPS = 100_000
_TIMETABLE = (
    "Airflow gives equal start and end for @daily: schedule the DAG with CronDataIntervalTimetable, "
    "whose runs have a data interval."
)


@dataclass(frozen=True)
class Interval:
    """The moments from `start` up to, not including, `end`; both aware, in UTC.

    Raises:
        IntervalError: `start` is not before `end`, or one of them has no time zone.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise IntervalError("Start and end of an interval need a time zone.", "Use Interval.parse for text.")
        if self.start >= self.end:
            raise IntervalError(
                f"The interval starts at {self.start.isoformat()} and ends at {self.end.isoformat()}: it is empty.",
                _TIMETABLE,
            )

    @classmethod
    def parse(cls, start: str, end: str) -> Self:
        """Read two ISO 8601 moments; without a zone, or as a date alone, they are UTC.

        Raises:
            IntervalError: One cannot be read, or start is not before end.
        """
        moments = []
        for word, text in (("start", start), ("end", end)):
            try:
                moments.append(moment(text))
            except ValueError:
                raise IntervalError(
                    f"The {word} of the interval, {text!r}, is not an ISO 8601 time.",
                    f"Write it like 2026-11-01T00:00:00Z. {_TIMETABLE}",
                ) from None
        return cls(*moments)


def moment(text: str) -> datetime:
    """An ISO 8601 moment in UTC; without a zone, or as a date alone, it is UTC.

    Raises:
        ValueError: The text is no such moment.
    """
    read = datetime.fromisoformat(text.strip())
    if read.tzinfo is None:
        return read.replace(tzinfo=UTC)
    try:
        return read.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is out of range") from error


def render(pattern: str, interval: Interval) -> list[str]:
    """Every distinct text of a strftime pattern within an interval, in the order of time.

    The pattern is written once for each step of its finest directive that overlaps the
    interval, in UTC.

    Raises:
        JobFileError: The pattern has no directive of time, an unknown one, or too many steps.
    """
    unit = _finest(pattern)
    if unit in _STEP and (interval.end - interval.start) / _STEP[unit] > _MOST_STEPS:
        raise JobFileError(
            f"{pattern!r} has more than {_MOST_STEPS:,} steps of a {unit} in this interval.",
            "Shorten the interval or use a coarser directive.",
        )
    texts: dict[str, None] = {}
    at: datetime | None = _floor(interval.start.astimezone(UTC), unit)
    while at is not None and at < interval.end:
        texts[_write(pattern, at)] = None
        at = _next(at, unit)
    return list(texts)


def fixed_root(pattern: str) -> str:
    """The folders of a pattern that hold for every moment: up to the last slash before a directive."""
    for found in _DIRECTIVE.finditer(pattern):
        if found[1] not in _STILL:
            head, slash, _ = pattern[: found.start()].rpartition("/")
            return (head + slash).replace("%%", "%")
    return pattern.replace("%%", "%")


def every_time(pattern: str) -> tuple[str, list[tuple[str, str | None]]]:
    """The folders of a strftime pattern that hold for every moment, and the parts of what follows them.

    Returns:
        The folders, see `fixed_root`, and (text, None) for plain text and ("", glob) for a directive, in their order.

    Raises:
        JobFileError: The pattern has no directive of time, or an unknown one.
    """
    _finest(pattern)
    root = fixed_root(pattern)
    rest = pattern[len(root.replace("%", "%%")) :]
    parts: list[tuple[str, str | None]] = []
    at = 0
    for found in _DIRECTIVE.finditer(rest):
        parts.append((rest[at : found.start()], None))
        parts.append(("%", None) if found[1] == "%" else ("", _DIGITS.get(found[0][1:], "*")))
        at = found.end()
    return root, [*parts, (rest[at:], None)]


def _finest(pattern: str) -> str:
    used = {found[1] for found in _DIRECTIVE.finditer(pattern)}
    known = set("".join(letters for _, letters in _FINEST)) | set(_STILL)
    if unknown := sorted(used - known):
        raise JobFileError(
            f"{pattern!r} holds %{unknown[0]}, which is no directive of a path in time.",
            "Use %Y, %m, %d, %H or another directive of strftime, and %% for a plain percent sign.",
        )
    for unit, letters in _FINEST:
        if used & set(letters):
            return unit
    raise JobFileError(
        f"{pattern!r} holds no directive of time, which window: path needs.",
        "Write the folders like dt=%Y-%m-%d/, or choose window: modified or window: all.",
    )


def _floor(at: datetime, unit: str) -> datetime:
    kept = ("year", "month", "day", "hour", "minute", "second").index(unit) + 1
    year, month, day, hour, minute, second = (*at.timetuple()[:kept], *(1, 1, 1, 0, 0, 0)[kept:])
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def _next(at: datetime, unit: str) -> datetime | None:
    try:
        if unit in _STEP:
            return at + _STEP[unit]
        if unit == "month" and at.month < 12:
            return at.replace(month=at.month + 1)
        return at.replace(year=at.year + 1, month=1)
    except (OverflowError, ValueError):
        return None  # the calendar of datetime ends with the year 9999


def _write(pattern: str, at: datetime) -> str:
    # Directive by directive: strftime of a whole pattern would pass its other characters through the C locale.
    return _DIRECTIVE.sub(lambda found: at.strftime(found[0]), pattern)
