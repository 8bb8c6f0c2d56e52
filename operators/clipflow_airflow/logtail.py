"""The log of a Ray job as it grows: complete lines, each once, from a position on."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from clipflow_airflow.jobs import Disconnected, RayJobs

GROUP_LINES = 1000

Tell = Callable[[str], None]
Save = Callable[[int], Awaitable[None]]


class LogTail:
    """Reads ahead in the background, tells when asked; use it as `async with`.

    A position counts the characters of the lines that were told. It is saved before they are: whoever
    goes on from it repeats nothing.

    Args:
        jobs: An open session.
        submission_id: The job.
        tell: Where the lines go.
        position: How much of the log was told already.
        save: Keeps the position.
    """

    def __init__(
        self, jobs: RayJobs, submission_id: str, tell: Tell, position: int = 0, save: Save | None = None
    ) -> None:
        self._jobs = jobs
        self._id = submission_id
        self._tell = tell
        self._position = position
        self._save = save
        self._ahead = ""
        self._in_group = 0
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reader is not None
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader
        self._fold()

    async def tell(self) -> None:
        """Tell the complete lines that have arrived."""
        lines, newline, self._ahead = self._ahead.rpartition("\n")
        if newline:
            await self._out(lines, len(lines) + 1)

    async def tell_rest(self, log: str) -> None:
        """Tell what is left of the whole log, its last line included."""
        self._ahead = ""
        if rest := log[self._position :]:
            await self._out(rest.removesuffix("\n"), len(rest))

    async def _out(self, lines: str, length: int) -> None:
        self._position += length
        if self._save is not None:
            await self._save(self._position)
        for line in lines.split("\n"):
            if self._in_group == GROUP_LINES:
                self._fold()
            if not self._in_group:
                self._tell(f"::group::Log of the Ray job {self._id}")
            self._in_group += 1
            self._tell(line)

    def _fold(self) -> None:
        if self._in_group:
            self._tell("::endgroup::")
            self._in_group = 0

    async def _read(self) -> None:
        while True:
            # Ray sends a log from its beginning.
            told = self._position
            self._ahead = ""
            try:
                async for text in self._jobs.tail(self._id):
                    skipped = min(told, len(text))
                    told -= skipped
                    self._ahead += text[skipped:]
            except Disconnected as error:
                if not error.retryable:
                    # A proxy that passes no WebSocket: the log comes as a whole, at the end.
                    return
            await asyncio.sleep(self._jobs.address.poll_seconds)
