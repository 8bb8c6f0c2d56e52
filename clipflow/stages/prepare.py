"""fetch ▸ decode: listed images become rows with pixels, with a known vector, or with a failure."""

import hashlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from clipflow.assignment import Assignment
from clipflow.decode.revision import decoder_revision
from clipflow.failures import DECODED, LIMITS, ImageFailure
from clipflow.fetch import Fetcher
from clipflow.spec import Limits
from clipflow.stages.flight import Row, in_flight
from clipflow.stages.pixels import ToPixels
from clipflow.storage import Storage
from clipflow.subtract import REDECODE, REFRESH
from clipflow.table.known import KnownBytes
from clipflow.version import __version__


class Fetched(NamedTuple):
    """A batch whose bytes are here.

    Attributes:
        rows: In flight; `data` holds the bytes of those that are to be decoded.
        seconds: That it took.
    """

    rows: list[Row]
    seconds: float


class Prepare:
    """The stage that needs no weights. Several threads may share one."""

    def __init__(self, assignment: Assignment) -> None:
        self._given = assignment
        self._fetcher = Fetcher(Storage.of(assignment.spec.source.storage), assignment.spec.limits)
        self._to_pixels = ToPixels(assignment)
        self._known = KnownBytes(assignment.address, assignment.about)

    def fetch(self, work: pa.Table) -> Fetched:
        """Work (see `subtract.work_schema`) in, rows with their bytes, all held together, out."""
        rows = [self._begin(item) for item in work.to_pylist()]
        refreshed = self._refresh(rows)
        started = time.perf_counter()
        self._fetch([row for row in rows if row["image_id"] not in refreshed])
        return Fetched(rows, time.perf_counter() - started)

    def decode(self, fetched: Fetched) -> pa.Table:
        """What `fetch` gave in, rows in flight out. Bytes go as they are decoded, one image after the other."""
        started = time.perf_counter()
        for row in fetched.rows:
            if "data" in row:
                self._decode(row)
        seconds = time.perf_counter() - started
        for row in fetched.rows:
            row["seconds_fetch"] = fetched.seconds / len(fetched.rows)
            row["seconds_decode"] = seconds / len(fetched.rows)
        return in_flight(fetched.rows, self._given.flight)

    def _begin(self, item: Row) -> Row:
        context, interval = self._given.spec.context, self._given.interval
        return item | {
            "attempts": item["attempts"] + 1,
            "run_id": self._given.run_id,
            "job": self._given.spec.name,
            "dag_id": context.get("dag_id"),
            "dag_run_id": context.get("dag_run_id"),
            "interval_start": interval.start if interval else None,
            "interval_end": interval.end if interval else None,
            "encoder_id": self._given.info.encoder_id,
            "source_id": item["source_id"] or self._given.spec.source.source_id,
            "first_seen_at": item["first_seen_at"] or self._given.began,
            "clipflow_version": __version__,
        }

    def _refresh(self, rows: Sequence[Row]) -> set[str]:
        """Rows whose bytes did not change take everything but their words from the table."""
        known = self._known.by_id(row["image_id"] for row in rows if row["action"] == REFRESH)
        for row in rows:
            if row["action"] == REFRESH and row["image_id"] in known:
                _reuse(row, known[row["image_id"]])
        return set(known)

    def _fetch(self, rows: Sequence[Row]) -> None:
        for row, data in zip(rows, self._fetcher.fetch_many([row["source_uri"] for row in rows]), strict=True):
            if isinstance(data, ImageFailure):
                self._fail(row, data.code)
                continue
            row["content_sha256"] = hashlib.sha256(data.data).hexdigest()
            row["data"] = data.data
            # A bucket that keeps versions lists none of them by prefix; this is the one that was read.
            row["source_version"] = data.version or row["source_version"]
            if row["source_size"] is None:
                row["source_size"] = len(data.data)
        asked = [row for row in rows if "data" in row and row["action"] != REDECODE]
        known = self._known.by_content(row["content_sha256"] for row in asked)
        for row in asked:
            if row["content_sha256"] in known:
                del row["data"]
                _reuse(row, known[row["content_sha256"]])

    def _decode(self, row: Row) -> None:
        try:
            row |= self._to_pixels(row.pop("data")) | {"outcome": "embedded"}
        except ImageFailure as failure:
            self._fail(row, failure.code)

    def _fail(self, row: Row, code: str) -> None:
        under = failed_under(code, self._given.spec.limits)
        row |= {"reasons": [code], "outcome": "failed", "failed_under": under}


def failed_under(code: str, limits: Limits) -> str | None:
    """What a failure depends on, as its row keeps it: the limit, the decoder's revision, or nothing of the kind."""
    if code in LIMITS:
        return str(int(getattr(limits, LIMITS[code])))
    return str(decoder_revision()) if code in DECODED else None


def _reuse(row: Row, known: Row) -> None:
    row |= {name: value for name, value in known.items() if name != "image_id"}
    row["outcome"] = "reused"
