"""What a worker does to a batch: fetch, decode, embed, score, judge, stage.

`Prepare` (fetch, decode) needs no weights, `Embed` (embed, score, judge) needs the encoder, `Stage` needs
the table. The engines only decide where each runs; with pixels crossing the object store as uint8 or not at all.
"""

import hashlib
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from clipflow.assignment import CLOCKS, Assignment
from clipflow.decode import decode
from clipflow.encoders import load_encoder, load_preprocess
from clipflow.errors import EncoderMismatch
from clipflow.failures import ImageFailure
from clipflow.fetch import Fetcher
from clipflow.measures import measure
from clipflow.policy.judge import judge, score
from clipflow.policy.scorers.base import Evidence
from clipflow.schema import PIXEL_COLUMNS
from clipflow.storage import Storage
from clipflow.subtract import REFRESH
from clipflow.table.images import open_images
from clipflow.table.known import KnownBytes
from clipflow.table.stage import stage_rows
from clipflow.version import __version__

Row = dict[str, Any]


class Prepare:
    """fetch ▸ decode: listed images become rows with pixels, with a known vector, or with a failure."""

    def __init__(self, assignment: Assignment) -> None:
        self._given = assignment
        self._fetcher = Fetcher(Storage.of(assignment.spec.source.storage), assignment.spec.limits)
        self._preprocess = load_preprocess(assignment.info)
        self._known = KnownBytes(assignment.address)

    def __call__(self, work: pa.Table) -> pa.Table:
        """Work (see `subtract.work_schema`) in, rows in flight out."""
        rows = [self._begin(item) for item in work.to_pylist()]
        refreshed = self._refresh(rows)
        started = time.perf_counter()
        fetched = [row for row in rows if row["image_id"] not in refreshed]
        self._fetch(fetched)
        between = time.perf_counter()
        self._decode([row for row in fetched if "data" in row])
        ended = time.perf_counter()
        for row in rows:
            row["seconds_fetch"] = (between - started) / len(rows)
            row["seconds_decode"] = (ended - between) / len(rows)
        return _in_flight(rows, self._given.flight)

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
                _fail(row, data.code)
                continue
            row["content_sha256"] = hashlib.sha256(data).hexdigest()
            row["data"] = data
            if row["source_size"] is None:
                row["source_size"] = len(data)
        known = self._known.by_content(row["content_sha256"] for row in rows if "data" in row)
        for row in rows:
            if row.get("content_sha256") in known:
                del row["data"]
                _reuse(row, known[row["content_sha256"]])

    def _decode(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._decode_one(row)

    def _decode_one(self, row: Row) -> None:
        data = row.pop("data")
        try:
            decoded = decode(data, self._given.spec.limits.max_pixels)
        except ImageFailure as failure:
            _fail(row, failure.code)
            return
        height, width = decoded.rgb.shape[:2]
        row |= {"media_type": decoded.media_type, "width": width, "height": height, "outcome": "embedded"}
        row |= measure(decoded.rgb, len(data))
        pixels = self._preprocess(decoded.rgb)
        row |= {"pixels": pixels.tobytes(), "pixels_height": pixels.shape[0], "pixels_width": pixels.shape[1]}


class Embed:
    """embed ▸ score ▸ judge: rows with pixels get their vector, all rows their scores and verdict."""

    def __init__(self, assignment: Assignment, device: str = "auto") -> None:
        import torch

        # Workers and lanes are as many as the cores: threads of a single computation would fight for them.
        torch.set_num_threads(1)
        self._given = assignment
        self._one_at_a_time = threading.Lock()
        asked = assignment.spec.encoder
        # A branch may have moved since the driver resolved it.
        resolved = asked.model_copy(update={"revision": assignment.info.commit or asked.revision})
        self._encoder = load_encoder(resolved, precision=asked.precision, device=device)
        if self._encoder.info.encoder_id != assignment.info.encoder_id:
            raise EncoderMismatch(
                f"This worker's copy of {assignment.info.model} is not the driver's "
                f"({self._encoder.info.encoder_id[:12]} instead of {assignment.info.encoder_id[:12]}).",
                "Give every node the same folder, or name a hub id with its revision.",
            )

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Rows in flight in; the same rows, judged and without pixels, out."""
        started = time.perf_counter()
        vectors, failures = self._embed(rows)
        between = time.perf_counter()
        rows = self._judge(rows, vectors, failures)
        ended = time.perf_counter()
        clocks = {"seconds_embed": between - started, "seconds_score": ended - between}
        for name, seconds in clocks.items():
            rows = _with(rows, name, pa.array(np.full(len(rows), seconds / max(len(rows), 1))))
        return _with(rows, "pixels", pa.nulls(len(rows), pa.large_binary()))

    def _embed(self, rows: pa.Table) -> tuple[np.ndarray, list[str | None]]:
        """Vectors as stored, [N, dim], NaN where there is none; and the failure codes."""
        stored = np.float16 if self._given.spec.table.vector == "float16" else np.float32
        vectors = np.full((len(rows), self._given.info.dim), np.nan, stored)
        known = rows.column("vector").combine_chunks()
        reused = np.flatnonzero(known.is_valid().to_numpy(zero_copy_only=False))
        if len(reused):
            vectors[reused] = (
                known.take(pa.array(reused)).flatten().to_numpy(zero_copy_only=False).reshape(len(reused), -1)
            )
        failures: list[str | None] = [reasons[0] if reasons else None for reasons in rows.column("reasons").to_pylist()]
        fresh = np.flatnonzero(rows.column("pixels").combine_chunks().is_valid().to_numpy(zero_copy_only=False))
        if len(fresh):
            taken = rows.select(["pixels", "pixels_height", "pixels_width"]).take(pa.array(fresh)).to_pylist()
            pixels = np.stack(
                [
                    np.frombuffer(row["pixels"], np.uint8).reshape(row["pixels_height"], row["pixels_width"], 3)
                    for row in taken
                ]
            )
            made = self._in_batches(pixels)
            finite = np.isfinite(made).all(axis=1)
            vectors[fresh[finite]] = made[finite].astype(stored)
            for row in fresh[~finite]:
                failures[row] = "encoder_nonfinite"
        return vectors, failures

    def _in_batches(self, pixels: np.ndarray) -> np.ndarray:
        asked = self._given.spec.compute.batch_size
        size = 32 if asked == "auto" else asked
        parts = [self._encoder.encode_pixels(pixels[at : at + size]) for at in range(0, len(pixels), size)]
        return np.concatenate(parts)

    def _encode_texts(self, texts: list[str]) -> np.ndarray:
        # Fast tokenizers refuse a second thread.
        with self._one_at_a_time:
            return self._encoder.encode_texts(texts)

    def _judge(self, rows: pa.Table, vectors: np.ndarray, failures: list[str | None]) -> pa.Table:
        policy = self._given.spec.policy
        columns = {name: rows.column(name).to_pylist() for name in (*PIXEL_COLUMNS, "caption")}
        evidence = Evidence(columns, vectors.astype(np.float64), self._encode_texts)
        by_rule, stored = score(policy, evidence)
        statuses, reasons = judge(policy, by_rule, failures)
        failed = np.array([code is not None for code in failures])
        now = datetime.now(UTC)
        embedded_at = [there or now for there in rows.column("embedded_at").to_pylist()]
        outcomes = [
            "failed" if bad else there for bad, there in zip(failed, rows.column("outcome").to_pylist(), strict=True)
        ]
        for name, values in stored.items():
            rows = _with(rows, name, pa.array(values, pa.float32(), from_pandas=True))
        filled: dict[str, list[Any]] = {
            "status": statuses,
            "reasons": reasons,
            "outcome": outcomes,
            "embedded_at": embedded_at,
            "judged_at": [now] * len(rows),
            "policy_id": [policy.policy_id] * len(rows),
            "precision": [self._encoder.precision if there == "embedded" else None for there in outcomes],
        }
        for name, items in filled.items():
            rows = _with(rows, name, pa.array(items, self._given.flight.field(name).type))
        return _with(rows, "vector", _vector_array(vectors, failed, self._given.flight.field("vector").type))


class Stage:
    """stage: judged rows become a fragment that nobody sees, and a receipt."""

    def __init__(self, assignment: Assignment) -> None:
        self._given = assignment

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Judged rows in, one row that is a `table.stage.Receipt` out."""
        started = time.perf_counter()
        dataset = open_images(self._given.address)
        seconds = {clock: float(np.sum(rows.column(f"seconds_{clock}").to_numpy())) for clock in CLOCKS}
        receipt = stage_rows(rows, rows, seconds, self._given.address, dataset)
        receipt.seconds["stage"] = time.perf_counter() - started
        return pa.Table.from_pylist([receipt.to_row()])


def _fail(row: Row, code: str) -> None:
    row |= {"reasons": [code], "outcome": "failed"}


def _reuse(row: Row, known: Row) -> None:
    row |= {name: value for name, value in known.items() if name != "image_id"}
    row["outcome"] = "reused"


def _in_flight(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    """Plain rows as Arrow; `vector` may be a numpy vector or absent."""
    vector = schema.field("vector").type
    matrix = np.zeros((len(rows), vector.list_size), vector.value_type.to_pandas_dtype())
    absent = np.ones(len(rows), bool)
    for at, row in enumerate(rows):
        if (there := row.pop("vector", None)) is not None:
            matrix[at], absent[at] = there, False
    table = pa.Table.from_pylist(list(rows), schema.remove(schema.get_field_index("vector")))
    return table.append_column(schema.field("vector"), _vector_array(matrix, absent, vector)).select(schema.names)


def _vector_array(matrix: np.ndarray, absent: np.ndarray, kind: pa.DataType) -> pa.Array:
    values = pa.array(np.where(absent[:, None], 0, matrix).ravel().astype(matrix.dtype), kind.value_type)
    return pa.FixedSizeListArray.from_arrays(values, type=kind, mask=pa.array(absent))


def _with(rows: pa.Table, name: str, values: pa.Array) -> pa.Table:
    at = rows.schema.get_field_index(name)
    return rows.set_column(at, rows.schema.field(at), values)
