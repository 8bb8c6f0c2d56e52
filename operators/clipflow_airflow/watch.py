"""The triggerer's half of a watch: look at a prefix again and again, and remember what events have covered."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

from airflow.triggers.shared_stream import AdvanceItem, SharedStreamProducer

from clipflow.errors import ClipflowError
from clipflow_airflow.prefix import Found, Prefix
from clipflow_airflow.sketch import Sketch

LAST = 250_000_000_000_000_000
"""Microseconds from 1970 until the calendar of datetime ends, nearly."""

_LONGEST_PAUSE = 900.0

log = logging.getLogger(__name__)


class Sight:
    """One whole listing of the prefix.

    `keep` remembers that its objects are known. The trigger sets it once the sight's event is on its way.
    """

    def __init__(self) -> None:
        self.sketch = Sketch()
        self.oldest = LAST
        self.newest = -LAST
        self.keep: Callable[[], Awaitable[None]] | None = None

    def take(self, pages: Iterator[list[Found]]) -> bool:
        """Take in the next page; False when there is none."""
        page = next(pages, None)
        for found in page or ():
            self.sketch.add(found.identity, found.modified)
            self.oldest = min(self.oldest, found.modified)
            self.newest = max(self.newest, found.modified)
        return page is not None


class Watch(SharedStreamProducer):
    """Looks at a prefix again and again; the triggerer's side of a `NewUploadsTrigger`."""

    def __init__(self, prefix: Prefix, seconds: float) -> None:
        self._prefix = prefix
        self._seconds = seconds

    async def open_stream(self) -> AsyncIterator[tuple[Sight, Sight]]:
        """One sight after the other. Storage that fails is asked again, less and less often."""
        failures = 0
        while True:
            pause = self._seconds
            try:
                sight = await self.look()
            except ClipflowError as error:
                failures = min(failures + 1, 10)
                pause = min(pause * 2**failures, max(pause, _LONGEST_PAUSE))
                log.warning("%s The next look is in %d seconds.", error, pause)
            else:
                failures = 0
                yield sight, sight
            await asyncio.sleep(pause)

    async def look(self) -> Sight:
        """List the prefix, page by page in a thread."""
        sight, pages = Sight(), self._prefix.pages()
        while await asyncio.to_thread(sight.take, pages):
            pass
        return sight

    async def advance(self, batch: Sequence[AdvanceItem]) -> None:
        """Airflow has stored the events of these sights: remember the last one."""
        for item in reversed(batch):
            if item.outcome.is_clean and item.broker_payload.keep is not None:
                await item.broker_payload.keep()
                return
