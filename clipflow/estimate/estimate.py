"""From a job to its estimate.

Rates come from the runs that the table has behind it, or from a probe of some images here, or by hand for machines
that are not at hand; each says where it comes from. The arithmetic is `prediction.predict`.
"""

from collections.abc import Mapping

from clipflow.assignment import Assignment
from clipflow.errors import UsageError
from clipflow.estimate.history import past_rates
from clipflow.estimate.prediction import Estimate, Work, Workers, predict
from clipflow.estimate.rates import Rate
from clipflow.interval import Interval
from clipflow.pipeline import Planning, planning
from clipflow.report import Plan
from clipflow.spec import JobSpec
from clipflow.table.sizes import data_bytes
from clipflow.wish import Wish

_OTHER_COLUMNS = 360
"""Bytes of a row without its vector, captions and attributes, as the demo's table has them."""


def estimate(
    spec: JobSpec,
    *,
    interval: Interval | None = None,
    ray: str | None = None,
    cpus: float | None = None,
    gpus: float | None = None,
    probe: int = 0,
    rates: Mapping[str, Rate] | None = None,
    wish: Wish | None = None,
) -> tuple[Plan, Estimate]:
    """Plan a job, and say what its run will cost. Nothing is written.

    Args:
        ray, cpus, gpus: As for `pipeline.plan`.
        probe: Measure rates here over so many images; 0 takes those of the table's last runs.
        rates: Outrank what is measured.

    Raises:
        UsageError: As for `plan`; or how fast the job goes is not known.
    """
    if probe < 0:
        raise UsageError(f"A probe of {probe} images measures nothing.", "Give a positive number.")
    with planning(spec, interval, ray, cpus, gpus, wish) as found:
        given = found.assignment
        known = {"bytes_per_row": _assumed_row(given)}
        workers = _workers(found)
        if found.left.to_fetch:
            backend = given.spec.compute.backend
            known |= past_rates(given.address, given.info.encoder_id, backend, gpus=workers.gpus_per_encoder > 0)
            if probe and found.left.gets:
                from clipflow.estimate.probe import probed_rates

                known |= probed_rates(given, found.left, probe)
        return found.plan, predict(_work(found), workers, {**known, **(rates or {})})


def _work(found: Planning) -> Work:
    left, dataset = found.left, found.dataset
    return Work(
        listed=left.listed,
        rows=left.to_fetch,
        gets=left.gets,
        sized_bytes=left.bytes,
        list_seconds=found.seconds,
        dim=found.assignment.info.dim,
        commit_rows=found.assignment.spec.table.commit_rows,
        replaced=left.replaced,
        unsized=left.unsized,
        table_rows=0 if dataset is None else dataset.count_rows(),
        table_bytes=0 if dataset is None else data_bytes(dataset),
    )


def _assumed_row(given: Assignment) -> Rate:
    vector = given.info.dim * (2 if given.spec.table.vector == "float16" else 4)
    return Rate(vector + _OTHER_COLUMNS, f"assumed: a vector of {vector} bytes, and {_OTHER_COLUMNS} bytes of the rest")


def _workers(found: Planning) -> Workers:
    if found.graph is None:
        return Workers(1)
    layout = found.graph.layout
    return Workers(layout.encoders[1], layout.gpus, layout.preparers)
