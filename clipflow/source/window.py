"""The window of a source: which addresses to list, and which moments count."""

import re
import sys
from dataclasses import dataclass
from typing import Self

from clipflow.errors import IntervalError
from clipflow.interval import Interval, every_time, fixed_root, render
from clipflow.source.globs import is_glob, split_glob, translated
from clipflow.source.listing import microseconds
from clipflow.spec import SourceSpec


@dataclass(frozen=True)
class Window:
    """Addresses to list, and the half-open range of `source_modified` that counts.

    Args:
        uris: The addresses, rendered where they are a pattern.
        root: The fixed folders of a pattern, which must exist; empty where it has none, None where the
            address is no pattern and must itself exist.
        below: What the way of an object below the one address must match.
        start: Microseconds since 1970, included.
        end: Microseconds since 1970, not included.
    """

    uris: tuple[str, ...]
    root: str | None = None
    below: re.Pattern[str] | None = None
    start: int = -sys.maxsize
    end: int = sys.maxsize

    @classmethod
    def of(cls, source: SourceSpec, interval: Interval | None, *, whole: bool = False) -> Self:
        """The window that a source and an interval make.

        Args:
            whole: All that the source ever lists, whatever its window: of a path in time the addresses of every moment.

        Raises:
            IntervalError: `window: path` without an interval.
            JobFileError: The path pattern is wrong.
        """
        if whole:
            return cls.whole(source)
        if source.window == "path":
            if interval is None:
                raise IntervalError(
                    f"The source {source.uri!r} is a path in time, and no interval is given.",
                    "Give --interval START END; in Airflow schedule the DAG with CronDataIntervalTimetable.",
                )
            return cls(tuple(render(source.uri, interval)), fixed_root(source.uri))
        if source.window == "modified" and interval is not None:
            late = source.lateness.days * 86_400_000_000 + source.lateness.seconds * 1_000_000
            start = microseconds(interval.start) - late - source.lateness.microseconds
            return cls((source.uri,), start=start, end=microseconds(interval.end))
        return cls((source.uri,))

    @classmethod
    def whole(cls, source: SourceSpec) -> Self:
        """All that a source ever lists."""
        if source.window != "path":
            return cls((source.uri,))
        root, parts = every_time(source.uri)
        root, rest = split_glob(root)
        parts = [(rest, None), *parts]
        plain = "".join(re.escape(text) if glob is None else _regex(glob) for text, glob in parts)
        either = [plain]
        if any(is_glob(text) for text, _ in parts):
            # What is written is taken as it is where it is there, and else as a glob.
            either.append(translated("".join(glob or text for text, glob in parts).rstrip("/")))
        end = ".+" if source.uri.endswith("/") else "(?:/.+)?"
        joined = "|".join(f"(?:{one.rstrip('/')})" for one in either)
        return cls((root or "./",), below=re.compile(f"(?s:(?:{joined}){'/' if end == '.+' else ''}{end})\\Z"))

    @property
    def bounded(self) -> bool:
        """Whether a row without a time cannot be placed."""
        return self.end != sys.maxsize

    def holds(self, modified: int | None) -> bool:
        """Whether a row with this time counts; without bounds every row does."""
        return not self.bounded or (modified is not None and self.start <= modified < self.end)


def _regex(glob: str) -> str:
    return "[^/]*" if glob == "*" else glob
