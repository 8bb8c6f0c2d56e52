"""Rates measured here: some images of the listing through the stages of a run, into a table that is thrown away."""

import logging
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter

from clipflow.assignment import Assignment
from clipflow.engine import usable_cpus
from clipflow.engine.inline import run_inline
from clipflow.errors import UsageError
from clipflow.estimate.clocks import rates_of
from clipflow.estimate.rates import Rate
from clipflow.pipeline import ready
from clipflow.report import RunReport
from clipflow.scratch import Scratch
from clipflow.subtract import Subtraction
from clipflow.table.address import TableAddress
from clipflow.table.commit import Committer
from clipflow.table.images import open_images
from clipflow.table.runs import Operation
from clipflow.table.sizes import data_bytes

log = logging.getLogger("clipflow")


def probed_rates(assignment: Assignment, left: Subtraction, images: int) -> dict[str, Rate]:
    """Fetch, decode, embed, judge, stage and commit a sample of the work by the lanes of this machine.

    The job's table is not touched; files lie in a temporary folder meanwhile. With GPUs here the encoder uses one.

    Raises:
        UsageError: There is nothing to fetch, or none of the sample could be embedded.
    """
    report = RunReport(run_id="probe")
    began = perf_counter()
    with Scratch("clipflow-probe-") as scratch, left.sample(images) as sample:
        address = TableAddress.of(str(scratch.path / "probe.lance"))
        given = replace(ready(assignment, report), address=address, run_id=report.run_id)
        with Operation(address, given.record, report) as operation:
            operation.open()
            receipts = list(run_inline(sample, given, lambda _: None))
            flow = perf_counter() - began
            with report.clock("commit"):
                landed = Committer(given, operation).commit(receipts)
            report.land(landed, receipts)
        embedded, worked = report.counts["embedded"], report.worked
        if not embedded:
            raise UsageError(
                f"None of the {worked} images of the probe could be embedded ({dict(report.reasons)}).",
                "Look at the images, or give rates by --rate.",
            )
        source = f"probe of {worked} images on this machine, {datetime.now(UTC):%Y-%m-%d}"
        rates = rates_of(worked, report.seconds, source, gpus=_on_gpu())
        # A commit of so few rows says nothing of one of fifty thousand.
        del rates["committed_per_second"]
        dataset = open_images(address)
        rates["bytes_per_row"] = Rate(data_bytes(dataset) / dataset.count_rows(), source)
        sizes = dataset.to_table(columns=["source_size"]).column("source_size").drop_null().to_pylist()
        rates["bytes_per_image"] = Rate(sum(sizes) / len(sizes), source)
        # Loading is what a clock over the lanes does not see.
        busy = sum(report.seconds[step] for step in ("fetch", "decode", "embed", "score", "stage"))
        rates["fixed_seconds"] = Rate(max(flow - busy / usable_cpus(), 0.001), source)
    log.info("probe: %d images in %.1f s", worked, perf_counter() - began)
    return rates


def _on_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
