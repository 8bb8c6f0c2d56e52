"""embed ▸ score ▸ judge: rows with pixels get their vector, all rows their scores and verdict."""

import sys
import threading
import time
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

import numpy as np
import pyarrow as pa

from clipflow.assignment import Assignment
from clipflow.columns import with_columns, with_values
from clipflow.encoders import load_encoder
from clipflow.encoders.base import batch
from clipflow.encoders.registry import computes_with_torch
from clipflow.errors import EncoderMismatch
from clipflow.policy.judge import judge, score
from clipflow.policy.scorers import find_scorer
from clipflow.policy.scorers.base import Evidence
from clipflow.stages.flight import vector_array


class Embed:
    """The stage that needs the encoder."""

    def __init__(self, assignment: Assignment, device: str = "auto", lanes: int = 1) -> None:
        self._given = assignment
        self._one_at_a_time = threading.Lock()
        asked = assignment.spec.encoder
        # A branch may have moved since the driver resolved it.
        resolved = asked.model_copy(update={"revision": assignment.info.commit or asked.revision})
        # Labels were encoded by the driver: only captions are read here.
        rules = assignment.spec.policy.rules
        texts = any(find_scorer(rule.score, rule.name).needs_caption for rule in rules)
        if computes_with_torch(assignment.info.loader):
            import_module("torch")
        _hold_torch_to_one_thread()
        self._encoder = load_encoder(
            resolved,
            precision=asked.precision,
            device=device,
            texts=texts,
            decode=assignment.spec.decode,
            compute=assignment.spec.compute,
            lanes=lanes,
        )
        # A loader of another package may have brought torch just now, or do without.
        torch = _hold_torch_to_one_thread()
        on_torch = torch is not None and assignment.spec.compute.backend == "torch"
        self._on_gpu = on_torch and device != "cpu" and torch.cuda.is_available()
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
            rows = with_values(rows, name, pa.array(np.full(len(rows), seconds / max(len(rows), 1))))
        return with_values(rows, "pixels", pa.nulls(len(rows), pa.large_binary()))

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
            pixels = [
                np.frombuffer(row["pixels"], np.uint8).reshape(row["pixels_height"], row["pixels_width"], -1)
                for row in taken
            ]
            made = self._in_batches(pixels)
            finite = np.isfinite(made).all(axis=1)
            vectors[fresh[finite]] = made[finite].astype(stored)
            for row in fresh[~finite]:
                failures[row] = "encoder_nonfinite"
        return vectors, failures

    def _in_batches(self, pixels: list[np.ndarray]) -> np.ndarray:
        size = self._given.spec.compute.images_at_once(gpu=self._on_gpu)
        if self._on_gpu:
            size *= 2  # one is copied while the other is computed, see `clipflow.encoders.device`
        parts = [self._encoder.encode_pixels(batch(pixels[at : at + size])) for at in range(0, len(pixels), size)]
        return np.concatenate(parts)

    def _encode_texts(self, texts: list[str]) -> np.ndarray:
        # Fast tokenizers refuse a second thread.
        with self._one_at_a_time:
            return self._encoder.encode_texts(texts)

    def _judge(self, rows: pa.Table, vectors: np.ndarray, failures: list[str | None]) -> pa.Table:
        policy = self._given.spec.policy
        judged = rows.select([name for name in self._given.schema.names if name != "vector"])
        evidence = Evidence(judged, vectors.astype(np.float64), self._encode_texts)
        by_rule, stored = score(policy, self._given.prepared, evidence)
        verdicts = judge(policy, by_rule, failures)
        failed = np.array([code is not None for code in failures])
        now = datetime.now(UTC)
        embedded_at = [there or now for there in rows.column("embedded_at").to_pylist()]
        outcomes = [
            "failed" if bad else there for bad, there in zip(failed, rows.column("outcome").to_pylist(), strict=True)
        ]
        for name, values in stored.items():
            rows = with_values(rows, name, pa.array(values, pa.float32(), from_pandas=True))
        filled: dict[str, list[Any]] = {
            "status": verdicts.status,
            "reasons": verdicts.reasons,
            "outcome": outcomes,
            "embedded_at": embedded_at,
            "judged_at": [now] * len(rows),
            "status_at": [now] * len(rows),
            "policy_id": [policy.policy_id] * len(rows),
            "precision": [self._encoder.precision if there == "embedded" else None for there in outcomes],
        }
        rows = with_columns(rows, filled)
        return with_values(rows, "vector", vector_array(vectors, failed, rows.schema.field("vector").type))


def _hold_torch_to_one_thread() -> Any:
    """torch, where it was imported. Workers and lanes are as many as the cores: more threads would fight for them."""
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
    return torch
