"""Is clipflow still faster than a loop written by hand? Three minutes; ends with 1 when it is not.

    python -m benchmarks.guard

Ratios of what one more image costs, in CPU-seconds, with bounds far enough below what is usual that a busy
machine does not reach them. Of each contestant's runs the cheapest count, because other work only makes them dearer;
where a bound is missed all the same, more rounds tell a slow program from an unlucky minute.
"""

import sys
import tempfile
from pathlib import Path

import torch
from tabulate import tabulate

from benchmarks.contestants import chosen
from benchmarks.embed import counts, draw, prepare, rounds
from benchmarks.figures import Run
from clipflow.encoders.precision import choose_precision

_SIZE = "640x480"
_ROUNDS, _MOST_ROUNDS = 2, 5
_IMAGES, _SLOW_IMAGES = 160, 48
_COSINE = 0.999


def at_least() -> dict[str, float]:
    """By contestant: how many times clipflow's cost. Where nothing computes bf16, the forward is the same."""
    halves = choose_precision("auto", torch.device("cpu")) == "bf16"
    return {"a": 1.8, "b": 1.4} if halves else {"a": 1.1, "b": 0.9}


def main() -> int:
    """Measure, print, judge."""
    contestants = chosen(["a", "h"])
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        home = Path(folder)
        prepare(home)
        draw(home, _SIZE, {count for one in contestants for count in counts(one, _IMAGES, _SLOW_IMAGES)})
        for number in range(_MOST_ROUNDS):
            for run in rounds(home, contestants, _IMAGES, _SLOW_IMAGES, _SIZE, 0, number):
                print(run.short(), file=sys.stderr, flush=True)
                runs.append(run)
            if number + 1 >= _ROUNDS and all(found >= least for _, found, least in _held(runs)):
                break
    held = _held(runs)
    print(
        tabulate(
            [(what, f"{found:.4g}", "yes" if found >= least else "NO") for what, found, least in held],
            headers=("", "found", "holds"),
            tablefmt="github",
        )
    )
    return 0 if all(found >= least for _, found, least in held) else 1


def _held(runs: list[Run]) -> list[tuple[str, float, float]]:
    """What must hold, what was found, and the least that it may be."""
    ours = _cheapest(runs, "h")
    return [
        *(
            (f"({letter}) costs at least {least} times (h)", _cheapest(runs, letter) / ours, least)
            for letter, least in at_least().items()
        ),
        (f"vectors of (h) are those of (b), cosine at least {_COSINE}", min(run.cosine for run in runs), _COSINE),
    ]


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
