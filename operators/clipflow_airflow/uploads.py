"""NewUploadsTrigger: starts a DAG when objects appear under a prefix."""

import logging
from collections.abc import AsyncIterator, Hashable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from clipflow.errors import UsageError, first_line
from clipflow.interval import EPOCH
from clipflow.uri import image_id
from clipflow_airflow.prefix import Prefix
from clipflow_airflow.sketch import Sketch
from clipflow_airflow.watch import LAST, Sight, Watch

_DAY = 86400
_FIRST = -62_135_596_800_000_000

log = logging.getLogger(__name__)


class NewUploadsTrigger(BaseEventTrigger):
    """Sends an event when objects appear, or change, under a prefix. Use it in an `AssetWatcher`.

    The watermark is no moment but a sketch of the set of objects that events have covered (see `sketch`), so
    equal times, late objects, wrong clocks and `rsync --times` need no rule of their own. No upload is missed:

    1. The store holds only the sketch of a listing whose objects were all in the sketch before it, or
       in an event. It is written by `advance`, which Airflow calls when it has stored that event.
    2. An object that is not in the sketch is a difference, and every difference sends an event,
       unless it is told apart to the last object and holds deletions only.
    3. So an object that a listing shows is in a stored event, or the next listing sends it, whoever died meanwhile.

    The price is a second sight, which costs a run that writes nothing: after a crash between event and
    sketch, when the sketch is lost, when hundreds of deletions come at once, and when the DAG was paused,
    for an event sent while it was being paused has started nothing.

    The event: `uri`, `listed` objects, `new` of them (null when too many changed to count), and
    `oldest` and `newest`, which enclose the modification times of all that is new.

    Args:
        uri: A folder, or an `s3://` prefix; it need not end in a slash.
        poll_seconds: The pause after each listing, at least 1. S3 bills a request for every 1,000 objects.
        existing: Whether what lies there at the very first listing counts as new.
        storage: `endpoint`, `region` and `profile` of S3, as in a job file. Never a secret.

    Raises:
        UsageError: An argument is wrong.
    """

    def __init__(
        self,
        uri: str,
        *,
        poll_seconds: float = 60,
        existing: bool = True,
        storage: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # Also refuses NaN, and what would never look again.
        if isinstance(poll_seconds, bool) or not 1 <= poll_seconds <= _DAY:
            raise UsageError(
                f"poll_seconds is {poll_seconds!r}; it must lie between 1 and {_DAY}.", "60 suits most prefixes."
            )
        self._prefix = Prefix.of(uri, storage)
        self.poll_seconds = poll_seconds
        self.existing = existing
        self.storage = dict(storage) if storage else None
        self._kept: Sketch | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class, and the arguments to make it again."""
        return f"{__name__}.{type(self).__name__}", {
            "uri": self._prefix.uri,
            "poll_seconds": self.poll_seconds,
            "existing": self.existing,
            "storage": self.storage,
        }

    def shared_stream_key(self) -> Hashable:
        """Each trigger has a stream of its own: the triggerer confirms stored events on shared streams only."""
        return (*self.serialize()[:1], str(self.trigger_id))

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> Watch:
        """The looking half of the trigger."""
        return Watch(Prefix.of(kwargs["uri"], kwargs["storage"]), kwargs["poll_seconds"])

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Sight]) -> AsyncIterator[TriggerEvent]:
        """An event for each sight that shows something new."""
        seen: Sketch | None = None
        async for sight in shared_stream:
            if seen is None:
                seen = await self._recall(sight)
            if (news := self._news(sight, seen)) is not None:
                yield TriggerEvent(news)  # type: ignore[no-untyped-call]
            # Not before the yield: a trigger that is cancelled there has sent nothing.
            seen = sight.sketch
            sight.keep = partial(self._keep, sight.sketch)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """The same without the triggerer. Nobody confirms events, so nothing is remembered beyond this call."""
        watch = self.create_shared_stream_producer(self.serialize()[1])
        async for event in self.filter_shared_stream(sight async for sight, _ in watch.open_stream()):
            yield event

    @property
    def _key(self) -> str:
        """One memory for each prefix: an asset may have several watchers."""
        return f"new_uploads_{image_id(self._prefix.uri)}"

    def _news(self, sight: Sight, seen: Sketch) -> dict[str, Any] | None:
        listed, new = len(sight.sketch), sight.sketch.since(seen)
        if not listed or new == []:
            return None
        count = len(new) if new else None
        if not len(seen):
            count = listed
        return {
            "uri": self._prefix.uri,
            "listed": listed,
            "new": count,
            "oldest": _moment(min(new) if new else sight.oldest),
            "newest": _moment(max(new) if new else sight.newest),
        }

    async def _recall(self, first: Sight) -> Sketch:
        """What events have covered; in doubt nothing, which costs a second sight."""
        try:
            stored: Any = await self.asset_state_store.aget(self._key) if self.asset_state_store else None
            if stored is None:
                return Sketch() if self.existing else first.sketch
            # After a pause the trigger is another one, and what was sent meanwhile may have started no run.
            if stored["trigger_id"] == self.trigger_id:
                self._kept = Sketch.read(stored["sketch"])
                return self._kept
        except Exception as error:
            log.warning(
                "The memory of %s cannot be read, so all of it counts as new: %s", self._prefix.uri, first_line(error)
            )
        return Sketch()

    async def _keep(self, sketch: Sketch) -> None:
        if self.asset_state_store is None or sketch == self._kept:
            return
        try:
            await self.asset_state_store.aset(self._key, {"trigger_id": self.trigger_id, "sketch": sketch.text()})
        except Exception as error:
            # Remembering less is a second sight at worst, and the next look tries again.
            log.warning("The memory of %s cannot be written: %s", self._prefix.uri, first_line(error))
        else:
            self._kept = sketch


def _moment(microseconds: int) -> str:
    # A file may claim any time, also one that no calendar holds.
    inside = max(_FIRST, min(microseconds, LAST))
    return (EPOCH + timedelta(microseconds=inside)).isoformat().replace("+00:00", "Z")
