"""The image side alone, in bf16 on one thread: transformers' own, clipflow's, clipflow's with packed layers, OpenVINO.

    python -m benchmarks.forward     # in the environment of `make bench`

In turns, CPU milliseconds an image. transformers gets prepared tensors; the others make them of bytes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles

import numpy as np
import torch
from tabulate import tabulate
from transformers import CLIPVisionModelWithProjection

from benchmarks.checkpoint import build
from benchmarks.machine import described
from clipflow.encoders import load_encoder
from clipflow.spec import ComputeSpec

_BATCH, _SIDE = 32, 224


def main() -> None:
    """Load all, take turns, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.forward", description="The image side alone, in bf16.")
    parser.add_argument("--turns", type=int, default=60, help="of each (default 60)")
    turns = parser.parse_args().turns
    torch.set_num_threads(1)
    print(described(), "\n", flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        build(Path(folder))
        ways = _ways(folder)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(turns + 1):
            for name, run in ways.items():
                began = time.process_time()
                run()
                # The first turn warms up.
                taken[name] += [(time.process_time() - began) * 1000 / _BATCH] * (turn > 0)
    first = next(iter(taken.values()))
    rows = [
        (name, min(own), quantiles(own, n=4)[0], median(own), median(a / b for a, b in zip(first, own, strict=True)))
        for name, own in taken.items()
    ]
    headers = ("", "least", "first quarter", "median", "transformers over it")
    print(tabulate(rows, headers=headers, floatfmt=("", ".1f", ".1f", ".1f", ".2f"), tablefmt="github"))


def _ways(folder: str) -> dict[str, Callable[[], object]]:
    raw = np.random.default_rng(0).integers(0, 256, (_BATCH, _SIDE, _SIDE, 3), np.uint8)
    prepared = torch.randn(_BATCH, 3, _SIDE, _SIDE).bfloat16()
    theirs = CLIPVisionModelWithProjection.from_pretrained(folder, dtype=torch.bfloat16).eval()
    ours = {
        "clipflow": None,
        "clipflow, packed": ComputeSpec(),
        "clipflow, OpenVINO": ComputeSpec(backend="openvino"),
    }
    encoders = {
        name: load_encoder(folder, precision="bf16", texts=False, compute=compute) for name, compute in ours.items()
    }

    @torch.inference_mode()
    def plain() -> object:
        return theirs(pixel_values=prepared)

    return {
        "transformers": plain,
        **{name: partial(encoder.encode_pixels, raw) for name, encoder in encoders.items()},
    }


if __name__ == "__main__":
    main()
