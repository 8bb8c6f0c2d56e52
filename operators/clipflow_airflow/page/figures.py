"""A report as figures: parts that add up, bars that compare, and lines to go on with."""

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Self

from clipflow.failures import CODES, PASSING

OUTCOMES = {
    "embedded": "the encoder ran",
    "reused": "same bytes, so the vector was there already",
    "unchanged": "the table was up to date",
    "failed": "no vector; the reason stands in the row",
    "forgotten": "deleted on request; stays away",
}
VERDICTS = {
    "accepted": "no rule objected",
    "review": "a human should look",
    "rejected": "a rule said no; the row is kept",
}
STEPS = ("list", "fetch", "decode", "embed", "score", "stage", "commit")


@dataclass(frozen=True)
class Part:
    """One bar, or one part of a bar.

    Attributes:
        kind: What it is coloured by.
        text: Its amount, for people.
    """

    name: str
    kind: str
    amount: float
    text: str
    meaning: str = ""


@dataclass(frozen=True)
class Whole:
    """Parts of one bar, and what they should add up to."""

    parts: tuple[Part, ...]
    total: int

    @classmethod
    def of(cls, report: Mapping[str, Any], meanings: Mapping[str, str], total: int) -> Self:
        """Each named count of the report as a part."""
        return cls(
            tuple(Part(name, name, report[name], f"{report[name]:,}", text) for name, text in meanings.items()), total
        )

    @property
    def adds_up(self) -> bool:
        """Whether nothing was lost (law 1)."""
        return sum(part.amount for part in self.parts) == self.total

    @property
    def spoken(self) -> str:
        """The bar in words."""
        return ", ".join(f"{part.text} {part.name}" for part in self.parts if part.amount) + f" of {self.total:,}"


@dataclass(frozen=True)
class RunFigures:
    """The figures of the main job's report."""

    headline: str
    outcomes: Whole
    verdicts: Whole | None
    reasons: tuple[Part, ...]
    steps: tuple[Part, ...]
    total: str | None
    rate: str | None

    @classmethod
    def of(cls, report: Mapping[str, Any]) -> Self | None:
        """None when the report is another verb's, or not one of ours."""
        if not _has_counts(report, ("listed", *OUTCOMES)):
            return None
        written = report["embedded"] + report["reused"]
        seconds = _numbers(report.get("seconds"))
        rate = report.get("images_per_second")
        return cls(
            headline=_headline(report),
            outcomes=Whole.of(report, OUTCOMES, report["listed"]),
            verdicts=Whole.of(report, VERDICTS, written) if written and _has_counts(report, tuple(VERDICTS)) else None,
            reasons=tuple(_reasons(_numbers(report.get("reasons")))),
            steps=tuple(Part(step, "step", seconds[step], span(seconds[step])) for step in STEPS if step in seconds),
            total=span(seconds["total"]) if "total" in seconds else None,
            rate=f"{rate:,.1f}" if _is_number(rate) and rate else None,
        )


def _headline(report: Mapping[str, Any]) -> str:
    listed, failed = report["listed"], report["failed"]
    worked = report["embedded"] + report["reused"] + failed
    if not listed:
        return "No images were listed"
    if not worked:
        return f"Nothing was left to do for {_images(listed)}"
    tail = f", {failed:,} failed" if failed else ""
    return f"{worked:,} of {_images(listed)} processed{tail}"


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n:,} images"


def _reasons(counts: Mapping[str, float]) -> Iterator[Part]:
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        kind = "failed" if name in CODES else "rule"
        again = "tried again by later runs" if name in PASSING else "final for these bytes"
        yield Part(name, kind, count, f"{count:,.0f}", again if kind == "failed" else "")


def next_steps(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What one may want to know next, and the command line that tells it."""
    table, run_id = report.get("table"), report.get("run_id")
    if not isinstance(table, str) or not isinstance(run_id, str) or not table:
        return
    here = f"run_id = '{run_id.replace(chr(39), chr(39) * 2)}'"

    def sql(statement: str) -> str:
        # Double quotes keep the SQL readable, where a shell finds nothing to do in them.
        quoted = shlex.quote(statement) if set(statement) & set('"$`\\!') else f'"{statement}"'
        return f"clipflow sql {shlex.quote(table)} {quoted}"

    written = _has_counts(report, tuple(OUTCOMES)) and report["embedded"] + report["reused"] + report["failed"]
    if written:
        yield (
            "The rows that this run wrote, by verdict",
            sql(f"select status, count(*) as images from images where {here} group by status"),
        )
    if written and report.get("accepted") != written:
        yield (
            "Those that were not accepted, and why",
            sql(f"select source_uri, status, reasons from images where {here} and status <> 'accepted' limit 20"),
        )
    yield "The run's own row: job, encoder, policy, clocks", sql(f"select * from runs where {here}")


def rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Any report as a table of words, but for what stands above it."""
    return [
        (str(key), value if isinstance(value, str) else _words(value))
        for key, value in report.items()
        if key not in ("run_id", "table", "version")
    ]


def span(seconds: float) -> str:
    """A length of time as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _words(value: Any) -> str:
    if _is_number(value):
        return f"{value:,}"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)


def _has_counts(report: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    return all(isinstance(report.get(name), int) and report[name] >= 0 for name in names)


def _numbers(value: Any) -> dict[str, float]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): number for name, number in value.items() if _is_number(number) and number >= 0}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
