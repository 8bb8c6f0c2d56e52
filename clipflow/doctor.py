"""Trying every part of a job without doing it: each check says what is wrong, and the mend."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from clipflow.encoders import EncoderInfo, describe, load_encoder
from clipflow.engine.cluster import cluster
from clipflow.errors import ClipflowError, EncoderError
from clipflow.interval import Interval
from clipflow.jobfile import read_job
from clipflow.pipeline import assign
from clipflow.policy.check import check_policy
from clipflow.policy.settle import has_duplicates
from clipflow.refusals import refusals
from clipflow.source import list_source
from clipflow.spec import JobSpec
from clipflow.table.address import TableAddress
from clipflow.table.dataset import open_dataset
from clipflow.table.first_seen import is_by_first_seen
from clipflow.table.forgotten import read_forgotten
from clipflow.trial import try_files, try_table, try_temporary_folder
from clipflow.uri import shown


@dataclass(frozen=True)
class Check:
    """One check: its part of the job, whether it is well, what was found, and what to do.

    A warning is well, and worth a look all the same.
    """

    name: str
    ok: bool
    message: str
    mend: str = ""
    warning: bool = False


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
        marks = ["BAD" if not one.ok else "!!!" if one.warning else "ok " for one in self.checks]
        lines = [f"{mark}  {c.name}: {c.message} {c.mend}" for mark, c in zip(marks, self.checks, strict=True)]
        return "\n".join(line.rstrip() for line in lines)

    @contextmanager
    def check(self, name: str, found: Callable[[], str]) -> Iterator[None]:
        """Run a block as one check; `found` says in the end what is well."""
        try:
            with refusals():
                yield
        except ClipflowError as error:
            self.add(name, error)
        else:
            self.checks.append(Check(name, True, found()))

    def warn(self, message: str, mend: str) -> None:
        """The last check was well, and there is something to look at."""
        self.checks[-1] = replace(self.checks[-1], message=message, mend=mend, warning=True)

    def add(self, name: str, error: ClipflowError) -> None:
        """A check that found something wrong."""
        self.checks.append(Check(name, False, error.message, error.mend))
        if error.exit_code > self.exit_code:
            self.error = error
        _let_go(error)


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
    # No part of a job: only what is wrong with it is worth a line.
    try:
        try_temporary_folder()
    except ClipflowError as error:
        diagnosis.add("temporary files", error)
    if spec is None:
        return diagnosis
    known = spec
    empty = False
    with diagnosis.check("source", lambda: said[0]):
        # A path in time is written for an interval; without one all that it ever names are its images.
        whole = window is None and known.source.window == "path"
        empty = next(iter(list_source(known.source, window, whole=whole)), None) is None
        said[0] = f"{known.source.uri} holds images"
    if empty:
        diagnosis.warn(
            f"{shown(known.source.uri)} lists 0 objects" + (" in this interval." if window else "."),
            "Look whether it is mounted, and whether the prefix, the rights and source.exclude are right.",
        )
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
    if diagnosis.checks[-1].ok and _is_of_before(known):
        diagnosis.warn(
            f"{said[0]}; it tells originals from duplicates by source_modified, which an uploader may choose.",
            "`clipflow judge` with its policy gives it the order of first_seen_at; --dry-run says what would move.",
        )
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
    read_forgotten(address)
    open_dataset(address, address.runs)
    try_table(address)
    if dataset is not None:
        try_files(address, dataset)
    if dataset is None:
        return f"{address.uri} will be created"
    return f"{address.uri} has {dataset.count_rows()} rows at version {dataset.version}"


def _is_of_before(spec: JobSpec) -> bool:
    """Whether duplicates are told in a table by an order that newer ones do not have."""
    dataset = open_dataset(TableAddress.of(spec.table.uri, spec.table.storage))
    return dataset is not None and has_duplicates(spec.policy) and not is_by_first_seen(dataset)


def _try_ray(address: str) -> str:
    with cluster(address):
        import ray

        resources = ray.cluster_resources()
        return f"{address} has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs"
