"""A table as an earlier run would have left it: rows of any listing, with random vectors and no image seen."""

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from clipflow.assignment import CLOCKS, Assignment
from clipflow.encoders import describe
from clipflow.report import RunReport
from clipflow.spec import JobSpec
from clipflow.table.address import TableAddress
from clipflow.table.commit import Committer
from clipflow.table.existing import Planned
from clipflow.table.images import ensure_images, open_images
from clipflow.table.runs import Operation
from clipflow.table.stage import stage_rows
from clipflow.version import __version__


def fill(spec: JobSpec, listing: Iterable[pa.RecordBatch]) -> int:
    """Stage and commit one accepted row per listed image; gives how many."""
    given = Assignment(spec, describe(spec.encoder), "0" * 32, None, TableAddress.of(spec.table.uri))
    ensure_images(given.address, given.schema, given.about)
    dataset = open_images(given.address)
    rng = np.random.default_rng(0)
    filled = 0
    with Operation(given.address, given.record, RunReport(given.run_id)) as operation:
        operation.open()
        committer = Committer(given, operation, Planned.of(dataset))
        for batch in listing:
            vectors = rng.standard_normal((batch.num_rows, given.info.dim), np.float32)
            rows = rows_of(given, batch, filled, vectors.astype(np.float16), rng)
            receipt = stage_rows(rows, {}, given.address, dataset)
            committer.commit([receipt])
            filled += len(rows)
    return filled


def rows_of(
    given: Assignment, batch: pa.RecordBatch, at: int, vectors: np.ndarray, rng: np.random.Generator
) -> pa.Table:
    """Accepted rows as `Embed` gives them, at places of the work from `at` on, with vectors [N, dim]."""
    count, now = batch.num_rows, datetime.now(UTC)
    same = {
        "status": "accepted",
        "outcome": "embedded",
        "attempts": 1,
        "run_id": given.run_id,
        "job": given.spec.name,
        "encoder_id": given.info.encoder_id,
        "policy_id": given.spec.policy.policy_id,
        "embedded_at": now,
        "judged_at": now,
        "clipflow_version": __version__,
        **{f"seconds_{clock}": 0.0 for clock in CLOCKS},
    }
    made = {
        **dict(zip(batch.schema.names, batch.columns, strict=True)),
        **{name: pa.array([value] * count, given.flight.field(name).type) for name, value in same.items()},
        "place": pa.array(range(at, at + count), pa.int64()),
        "content_sha256": pa.array([rng.bytes(32).hex() for _ in range(count)]),
        "reasons": pa.array([[]] * count, pa.list_(pa.string())),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), given.info.dim),
    }
    columns = [made[field.name] if field.name in made else pa.nulls(count, field.type) for field in given.flight]
    return pa.table(columns, schema=given.flight)
