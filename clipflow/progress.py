"""Progress for people: a bar on a terminal, a plain line now and then in a log."""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

log = logging.getLogger("clipflow")

_LINE_SECONDS = 10.0


class Progress:
    """Counts images as they are embedded.

    Args:
        total: Images that need work.
        bar: True draws a bar on stderr, False writes log lines; None draws a bar when stderr is a terminal.
    """

    def __init__(self, total: int, bar: bool | None = None) -> None:
        self._bar: tqdm[Any] | None = None
        # A process may have no stderr at all.
        if sys.stderr is not None and (sys.stderr.isatty() if bar is None else bar):
            with self._drawing():
                self._bar = tqdm(total=total, unit="image", file=sys.stderr)
        self._total = total
        self._done = 0
        self._started = self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            with self._drawing():
                self._bar.close()

    def reach(self, done: int) -> None:
        """So many images are done in all; never goes back."""
        if self._bar is not None:
            with self._drawing():
                self._bar.update(max(0, min(done, self._total) - self._done))
        self._done = max(self._done, done)
        now = time.monotonic()
        if self._bar is None and now - self._said > _LINE_SECONDS:
            self._said = now
            rate = self._done / (now - self._started)
            log.info("embed: %d of %d images, %.1f images/s", self._done, self._total, rate)

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        """A terminal that is gone or a full disk behind stderr ends the bar, not the work."""
        try:
            yield
        except OSError:
            self._bar = None
