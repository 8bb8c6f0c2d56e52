"""A table as runs make it, a fragment staged and committed at a time: clustered vectors, measures, no image seen."""

from collections.abc import Callable, Iterator

import lance
import numpy as np
import pyarrow as pa

from clipflow.assignment import Assignment
from clipflow.encoders import describe
from clipflow.report import RunReport
from clipflow.schema import images_schema, table_metadata, vector_type
from clipflow.spec import JobSpec
from clipflow.table.address import TableAddress
from clipflow.table.guard import Change, guarded_commit, write_fragments
from clipflow.table.images import ensure_images
from clipflow.table.runs import Operation

_DIM = 512


def fill(table: str, fragments: int, rows: int) -> TableAddress:
    """Commit so many fragments of so many rows each."""
    spec = JobSpec.model_validate(
        {"name": "bench", "source": {"uri": "s3://none/"}, "encoder": {"model": "demo"}, "table": {"uri": table}}
    )
    given = Assignment(spec, describe(spec.encoder), "0" * 32, None, TableAddress.of(table))
    schema = images_schema(vector_type("float16", _DIM))
    about = table_metadata({**given.info.card(), "dim": _DIM}, spec.policy.policy_id, spec.policy.body(), {})
    ensure_images(given.address, schema, about)
    with Operation(given.address, given.record, RunReport(given.run_id)) as operation:
        operation.open()
        for part in _parts(schema, spec.policy.policy_id, fragments, rows):
            files = write_fragments(part, given.address, given.address.images, schema)
            guarded_commit(given.address, given.address.images, _appending(files), operation.properties)
    return given.address


def _appending(files: list[lance.FragmentMetadata]) -> Callable[[lance.LanceDataset], Change]:
    return lambda dataset: Change(files)


def _parts(schema: pa.Schema, policy_id: str, fragments: int, rows: int) -> Iterator[pa.Table]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((500, _DIM), np.float32)
    for number in range(fragments):
        # Vectors lie in clusters, as those of pictures do.
        vectors = centres[rng.integers(0, 500, rows)] + 0.8 * rng.standard_normal((rows, _DIM), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        made = {
            "image_id": pa.array([f"{number * rows + row:032x}" for row in range(rows)]),
            "source_uri": pa.array([f"s3://none/{number * rows + row:09}.jpg" for row in range(rows)]),
            "content_sha256": pa.array([rng.bytes(32).hex() for _ in range(rows)]),
            "source_modified": pa.array(rng.integers(0, 10**15, rows), pa.timestamp("us", tz="UTC")),
            "min_side": pa.array(rng.uniform(32, 2000, rows), pa.float32()),
            "blur": pa.array(rng.exponential(200, rows), pa.float32()),
            "reasons": pa.array([[]] * rows, pa.list_(pa.string())),
            "policy_id": pa.array([policy_id] * rows),
            "status": pa.array(["accepted"] * rows),
            "run_id": pa.array(["0" * 32] * rows),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).ravel()), _DIM),
        }
        columns = [made.get(field.name, pa.nulls(rows, field.type)) for field in schema]
        yield pa.table(columns, schema=schema)
