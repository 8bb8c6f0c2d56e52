"""Is clipflow still faster than a loop written by hand? Three minutes; ends with 1 when it is not.

    python -m benchmarks.guard

Ratios of what one more image costs, in CPU-seconds, with bounds far enough below what is usual that a busy
machine does not reach them. Of each contestant's runs the cheapest count: other work only makes them dearer.
"""

import sys
import tempfile
from pathlib import Path

import torch
from tabulate import tabulate

from benchmarks.contestants import Contestant, chosen
from benchmarks.embed import counts, draw, prepare, rounds
from benchmarks.figures import Run
from clipflow.encoders.precision import choose_precision

_SIZE = "640x480"
_ROUNDS = 2
_IMAGES, _SLOW_IMAGES = 160, 48
_COSINE = 0.999


def at_least() -> dict[str, float]:
    """By contestant: how many times clipflow's cost. Where nothing computes bf16, the forward is the same."""
    halves = choose_precision("auto", torch.device("cpu")) == "bf16"
    return {"a": 1.8, "b": 1.4} if halves else {"a": 1.1, "b": 0.9}


def main() -> int:
    """Measure, print, judge."""
    contestants = chosen(["a", "h"])
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        runs = _measure(Path(folder), contestants)
    ours = _cheapest(runs, "h")
    held = [
        (f"({letter}) costs at least {least} times (h)", _cheapest(runs, letter) / ours, least)
        for letter, least in at_least().items()
    ]
    held.append((f"vectors of (h) are those of (b), cosine at least {_COSINE}", min(r.cosine for r in runs), _COSINE))
    print(
        tabulate(
            [(what, f"{found:.4g}", "yes" if found >= least else "NO") for what, found, least in held],
            headers=("", "found", "holds"),
            tablefmt="github",
        )
    )
    return 0 if all(found >= least for _, found, least in held) else 1


def _measure(home: Path, contestants: list[Contestant]) -> list[Run]:
    prepare(home)
    draw(home, _SIZE, {count for one in contestants for count in counts(one, _IMAGES, _SLOW_IMAGES)})
    runs = []
    for number in range(_ROUNDS):
        for run in rounds(home, contestants, _IMAGES, _SLOW_IMAGES, _SIZE, 0, number):
            print(run.short(), file=sys.stderr, flush=True)
            runs.append(run)
    return runs


def _cheapest(runs: list[Run], letter: str) -> float:
    """CPU-seconds that one more image costs."""
    by_count: dict[int, float] = {}
    for run in runs:
        if run.letter == letter:
            by_count[run.images] = min(run.cpu, by_count.get(run.images, run.cpu))
    (few, less), (many, more) = sorted(by_count.items())
    return (more - less) / (many - few)


if __name__ == "__main__":
    sys.exit(main())
