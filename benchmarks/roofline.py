"""The machine's limit: how fast one core multiplies bf16 matrices, and how many images that would be.

    python -m benchmarks.roofline

Prints FLOP per CPU-second. By CPU-seconds as everything else, so that both sides suffer alike from other work.
"""

import time

import torch

FLOP_PER_IMAGE = 8.82e9
"""Multiplications and additions of ViT-B/32's image side at 224 x 224."""

_SIDE = 2048
_SECONDS = 3.0
_TOGETHER = 4


def peak() -> float:
    """The best of some seconds, FLOP per CPU-second, one thread."""
    torch.set_num_threads(1)
    one, other = (torch.randn(_SIDE, _SIDE).to(torch.bfloat16) for _ in range(2))
    best = 0.0
    ends = time.monotonic() + _SECONDS
    while time.monotonic() < ends:
        began = time.process_time()
        for _ in range(_TOGETHER):
            torch.mm(one, other)
        best = max(best, 2 * _SIDE**3 * _TOGETHER / (time.process_time() - began))
    return best


if __name__ == "__main__":
    print(peak())
