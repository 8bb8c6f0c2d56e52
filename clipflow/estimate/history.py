"""Rates from runs that the table has behind it."""

import json
from collections import Counter
from typing import Any

import lance
import pyarrow.compute as pc

from clipflow.estimate.clocks import rates_of
from clipflow.estimate.rates import Rate
from clipflow.table.address import TableAddress
from clipflow.table.dataset import open_dataset
from clipflow.table.process import same_host
from clipflow.table.sizes import data_bytes

_RUNS = 5
_READ = ("run_id", "ended_at", "seconds", "process", "spec", "encoder", "embedded", "reused", "failed")


def past_rates(address: TableAddress, encoder_id: str, backend: str, *, gpus: bool) -> dict[str, Rate]:
    """Of the last runs of an encoder that embedded on the same kind of device; of this machine, if there are any.

    Args:
        backend: `compute.backend` of the job.
        gpus: Whether the job's encoders are on GPUs; runs say so by `compute.gpus_per_encoder`.
    """
    found: dict[str, Rate] = {}
    images = open_dataset(address)
    if images is not None and (held := images.count_rows()):
        found |= _sizes(images, held)
    runs = open_dataset(address, address.runs)
    if runs is None:
        return found
    wanted = (pc.field("verb") == "run") & (pc.field("state") == "done") & (pc.field("encoder_id") == encoder_id)
    names = [name for name in _READ if name in runs.schema.names]
    rows = runs.to_table(columns=names, filter=wanted).to_pylist()
    rows = [row for row in rows if row["embedded"] and _is_like(row, backend, gpus)]
    here = [row for row in rows if same_host(row.get("process"))]
    last = sorted(here or rows, key=lambda row: row["ended_at"])[-_RUNS:]
    if not last:
        return found
    seconds: Counter[str] = Counter()
    for row in last:
        seconds.update(json.loads(row["seconds"]))
    worked = sum(row["embedded"] + row["reused"] + row["failed"] for row in last)
    return found | rates_of(worked, seconds, _source(last, worked, bool(here)), gpus=gpus)


def _is_like(row: dict[str, Any], backend: str, gpus: bool) -> bool:
    on_gpus = bool(json.loads(row["spec"]).get("compute", {}).get("gpus_per_encoder"))
    return on_gpus == gpus and json.loads(row["encoder"]).get("backend", "torch") == backend


def _source(last: list[dict[str, Any]], worked: int, here: bool) -> str:
    which = f"run {last[-1]['run_id'][:8]}" if len(last) == 1 else f"last {len(last)} runs, to {last[-1]['run_id'][:8]}"
    where = "on this machine" if here else "on another machine, or before a restart"
    return f"{which}: {worked} images, {where}, {last[-1]['ended_at']:%Y-%m-%d}"


def _sizes(images: lance.LanceDataset, rows: int) -> dict[str, Rate]:
    source = f"the table's {rows} rows at version {images.version}"
    found = {"bytes_per_row": Rate(data_bytes(images) / rows, source)}
    sizes = images.to_table(columns=["source_size"]).column("source_size").drop_null()
    if len(sizes) and (mean := pc.mean(sizes).as_py()):
        found["bytes_per_image"] = Rate(mean, source)
    return found
