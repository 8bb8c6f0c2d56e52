"""All that a worker is told of a run, and what follows from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from typing import Any

import pyarrow as pa

from clipflow.decode.revision import decoder_revision
from clipflow.encoders import EncoderInfo
from clipflow.interval import Interval
from clipflow.policy.check import fingerprints, match_columns, score_columns
from clipflow.schema import images_schema, table_metadata, vector_type
from clipflow.spec import JobSpec
from clipflow.table.address import TableAddress
from clipflow.version import __version__

_RUNTIME = ("torch", "transformers", "pillow", "simplejpeg", "pylance", "ray")
CLOCKS = ("fetch", "decode", "embed", "score")


@dataclass(frozen=True)
class Assignment:
    """One run's job, encoder and table."""

    spec: JobSpec
    info: EncoderInfo
    run_id: str
    interval: Interval | None
    address: TableAddress
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    """Since when the run knows its images, where no store says it better. One moment for all of them: which of two is
    the original must not follow from the order in which workers came to them."""
    prepared: Mapping[str, Any] = field(default_factory=dict)
    """By rule, what the driver made ready for scoring, see `policy.judge.prepare`."""

    @property
    def schema(self) -> pa.Schema:
        """The images table of the job."""
        vector = vector_type(self.spec.table.vector, self.info.dim)
        policy = self.spec.policy
        return images_schema(vector, self.spec.source.attributes, score_columns(policy), match_columns(policy))

    @property
    def flight(self) -> pa.Schema:
        """Rows between two stages: the table's columns, pixels (uint8 H*W*3) while not embedded, and bookkeeping."""
        more = [
            ("pixels", pa.large_binary()),
            ("pixels_height", pa.int32()),
            ("pixels_width", pa.int32()),
            ("outcome", pa.string()),
            ("prior_run_id", pa.string()),
            ("prior_row_id", pa.uint64()),
            ("former_id", pa.string()),
            ("place", pa.int64()),
            ("precision", pa.string()),
        ]
        clocks = [(f"seconds_{clock}", pa.float64()) for clock in CLOCKS]
        return pa.schema([*self.schema, *(pa.field(name, kind) for name, kind in more + clocks)])

    @property
    def words(self) -> frozenset[str]:
        """The columns of caption and attributes that the job declares."""
        source = self.spec.source
        return frozenset(["caption"] * bool(source.caption) + [f"attr_{name}" for name in source.attributes])

    @cached_property
    def about(self) -> dict[str, str]:
        """The metadata of a table that this run may write."""
        policy = self.spec.policy
        return table_metadata(self.info.card(), policy.policy_id, policy.body(), fingerprints(policy, self.info))

    @property
    def record(self) -> dict[str, Any]:
        """What the runs table says of the run from its start."""
        spec = self.spec
        return {
            "run_id": self.run_id,
            "verb": "run",
            "job": spec.name,
            "spec": spec.body(),
            "fingerprint": spec.fingerprint,
            "encoder_id": self.info.encoder_id,
            "encoder": self.info.card(
                precision=spec.encoder.precision, backend=spec.compute.backend, runtime=runtime(spec.compute.backend)
            ),
            "policy_id": spec.policy.policy_id,
            "policy": spec.policy.body(),
            "interval_start": self.interval.start if self.interval else None,
            "interval_end": self.interval.end if self.interval else None,
            "context": dict(spec.context),
            "clipflow_version": __version__,
        }


def runtime(backend: str) -> dict[str, str]:
    """Versions of what computes, as installed with the driver, the decoder's revision too; recorded, not keyed."""
    libraries = {name: version(name) for name in (*_RUNTIME, *[backend] * (backend not in _RUNTIME))}
    return libraries | {"decoder": str(decoder_revision())}
