"""Trying every part of a job without doing it: each check says what is wrong, and the mend."""

import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from clipflow.encoders import EncoderInfo, describe, load_encoder
from clipflow.engine.cluster import cluster
from clipflow.errors import ClipflowError, EncoderError, TableError
from clipflow.faults import storage_error
from clipflow.interval import Interval
from clipflow.jobfile import read_job
from clipflow.pipeline import assign
from clipflow.policy.check import check_policy
from clipflow.source import list_source
from clipflow.spec import JobSpec
from clipflow.table.address import TableAddress
from clipflow.table.dataset import open_dataset


@dataclass(frozen=True)
class Check:
    """One check: its part of the job, whether it is well, what was found, and what to do."""

    name: str
    ok: bool
    message: str
    mend: str = ""


@dataclass
class Diagnosis:
    """All checks, and the exit code they come to."""

    checks: list[Check] = field(default_factory=list)
    error: ClipflowError | None = None
    """The first of the gravest kind."""

    @property
    def exit_code(self) -> int:
        """0 when all is well."""
        return self.error.exit_code if self.error else 0

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow doctor --json`."""
        document = {"checks": [asdict(check) for check in self.checks], "exit_code": self.exit_code}
        return {**document, "error": self.error.document()} if self.error else document

    def text(self) -> str:
        """As a line per check."""
        lines = [f"{'ok ' if c.ok else 'BAD'}  {c.name}: {c.message} {c.mend}".rstrip() for c in self.checks]
        return "\n".join(lines)

    @contextmanager
    def check(self, name: str, found: Callable[[], str]) -> Iterator[None]:
        """Run a block as one check; `found` says in the end what is well."""
        try:
            yield
        except ClipflowError as error:
            self.checks.append(Check(name, False, error.message, error.mend))
            if error.exit_code > self.exit_code:
                self.error = error
            _let_go(error)
        else:
            self.checks.append(Check(name, True, found()))


def _let_go(error: BaseException | None) -> None:
    """Keep what an error says, and nothing of where it was raised.

    Its frames hold models and cursors, in a circle with the diagnosis; what a library finds there when the process
    ends it reports as leaked.
    """
    while error is not None:
        before = error.__cause__ or error.__context__
        error.__traceback__ = error.__cause__ = error.__context__ = None
        error = before


def examine(job: str, sets: Sequence[str], interval: Sequence[str] | None, ray: str | None) -> Diagnosis:
    """Check the job file, source, encoder, policy, table and Ray of a job.

    Args:
        ray: As for `run`; None and `none` check no cluster.
    """
    diagnosis = Diagnosis()
    said: list[str] = [""]
    spec: JobSpec | None = None
    window: Interval | None = None
    with diagnosis.check("job", lambda: f"{job} can be read"):
        spec = read_job(job, sets)
        window = Interval.parse(*interval) if interval else None
    if spec is None:
        return diagnosis
    known = spec
    with diagnosis.check("source", lambda: said[0]):
        first = next(iter(list_source(known.source, window)), None)
        said[0] = f"{known.source.uri} holds {'images' if first else 'nothing in this window'}"
    info: EncoderInfo | None = None
    with diagnosis.check("encoder", lambda: said[0]):
        info = describe(known.encoder, known.decode)
        said[0] = _try_encoder(known)
    with diagnosis.check("policy", lambda: f"{len(known.policy.rules)} rules, {known.policy.policy_id[:12]}"):
        source = known.source
        check_policy(known.policy, info, captions=bool(source.caption), attributes=source.attributes)
    with diagnosis.check("table", lambda: said[0]):
        # What the checks before this one found wrong is not wrong with the table as well.
        sound = {check.name for check in diagnosis.checks if check.ok}
        said[0] = _try_table(known, compare=sound >= {"encoder", "policy"})
    if ray not in (None, "none"):
        with diagnosis.check("ray", lambda: said[0]):
            said[0] = _try_ray(str(ray))
    return diagnosis


def _try_encoder(spec: JobSpec) -> str:
    encoder = load_encoder(spec.encoder, precision=spec.encoder.precision, decode=spec.decode, compute=spec.compute)
    grey = encoder.preprocess(np.full((64, 64, 3), 128, np.uint8))
    if not np.isfinite(encoder.encode_pixels(grey[None])).all():
        raise EncoderError(
            f"{spec.encoder.model} gives vectors that are not finite.",
            "Try encoder.precision: fp32, or another checkpoint.",
        )
    text = "images and texts" if encoder.info.has_text else "images"
    how = f"{encoder.precision} by {spec.compute.backend}"
    return f"{spec.encoder.model} encodes {text} in {encoder.info.dim} dimensions, {how}"


def _try_table(spec: JobSpec, compare: bool) -> str:
    address = TableAddress.of(spec.table.uri, spec.table.storage)
    dataset = open_dataset(address)
    if compare:
        assign(spec, None, run_id="")
    _try_to_write(address)
    if dataset is None:
        return f"{address.uri} will be created"
    return f"{address.uri} has {dataset.count_rows()} rows at version {dataset.version}"


def _try_to_write(address: TableAddress) -> None:
    filesystem = address.storage.filesystem(address.images)
    folder = address.folder
    while "://" not in folder and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    probe = f"{folder}/.clipflow-doctor-{uuid.uuid4().hex}"
    try:
        filesystem.pipe_file(probe, b"")
        filesystem.rm_file(probe)
    except Exception as error:
        ours = storage_error(error, address.folder, "write to the table's folder")
        raise TableError(ours.message, ours.mend) from error


def _try_ray(address: str) -> str:
    with cluster(address):
        import ray

        resources = ray.cluster_resources()
        return f"{address} has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
