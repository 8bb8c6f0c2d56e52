"""Measurements made into tables and a plot.

python -m benchmarks.figures RUNS.jsonl            print the tables
python -m benchmarks.figures RUNS.jsonl --docs docs   write docs/speed.svg and docs/speed-runs.jsonl beside
"""

import argparse
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from tabulate import tabulate

from benchmarks.roofline import FLOP_PER_IMAGE

Figures = Sequence[float]


@dataclass(frozen=True)
class Run:
    """One measurement.

    Attributes:
        letter: Of the contestant.
        name: Of the contestant.
        ours: Whether it is clipflow.
        size: Of the photographs, as in 640x480.
        delay: Milliseconds until the store answers; 0 for files.
        round: Counted from 0.
        images: How many.
        wall: Seconds.
        cpu: CPU-seconds of all its processes.
        peak_mb: Memory of all its processes, proportional set size.
        first_row: Seconds until the first row was committed.
        cosine: The least of all vectors to those of (b).
        peak: What the machine could in this round, FLOP per CPU-second.
    """

    letter: str
    name: str
    ours: bool
    size: str
    delay: int
    round: int
    images: int
    wall: float
    cpu: float
    peak_mb: float
    first_row: float
    cosine: float
    peak: float

    def line(self) -> str:
        """A line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    def short(self) -> str:
        """A line for people."""
        return (
            f"round {self.round} {self.size} {self.delay} ms ({self.letter}) {self.name}, {self.images} images: "
            f"{self.wall:.1f} s, {self.cpu:.1f} CPU s, {self.peak_mb:.0f} MB, first row {self.first_row:.1f} s, "
            f"cosine {self.cosine:.5f}"
        )


def main() -> None:
    """Read the lines, print a table for every size and delay, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description="Tables and a plot.")
    parser.add_argument("runs", type=Path, help="what benchmarks.embed --raw wrote")
    parser.add_argument("--docs", type=Path, help="write speed.svg and speed-runs.jsonl into this folder")
    call = parser.parse_args()
    runs = [Run(**json.loads(line)) for line in call.runs.read_text().splitlines()]
    for size, delay in sorted({(run.size, run.delay) for run in runs}, key=lambda key: (key[1], len(key[0]))):
        print(f"\nPhotographs of {size}, {delay} ms a request\n")
        print(table([run for run in runs if (run.size, run.delay) == (size, delay)]))
    if call.docs:
        from benchmarks.plot import draw

        draw(runs, call.docs / "speed.svg")
        shutil.copyfile(call.runs, call.docs / "speed-runs.jsonl")


def marginal(runs: Sequence[Run], letter: str) -> dict[int, float]:
    """CPU-seconds that one more image costs contestant `letter`, by round."""
    found: dict[int, float] = {}
    for number in sorted({run.round for run in runs}):
        of_round = sorted((run.images, run.cpu) for run in runs if (run.letter, run.round) == (letter, number))
        # A round that was interrupted has one of the two, or none.
        if len(of_round) == 2:
            (few, less), (many, more) = of_round
            found[number] = (more - less) / (many - few)
    return found


def limit(runs: Sequence[Run]) -> dict[int, float]:
    """CPU-seconds an image at the peak of matrix multiplication, by round."""
    return {run.round: FLOP_PER_IMAGE / run.peak for run in runs}


def ratios(over: dict[int, float], under: dict[int, float]) -> list[float]:
    """One over the other in each round that has both."""
    return [over[number] / under[number] for number in over if number in under]


def table(runs: Sequence[Run]) -> str:
    """A row a contestant, for photographs of one size behind one delay."""
    costs = {letter: marginal(runs, letter) for letter in sorted({run.letter for run in runs})}
    ours = [run.letter for run in {run.letter: run for run in runs if run.ours}.values()]
    bound = limit(runs)
    rows = [
        _row([run for run in runs if run.letter == letter], cost, [costs[one] for one in ours], bound)
        for letter, cost in costs.items()
    ]
    best = _spread([1000 * seconds for seconds in bound.values()], 1)
    rows.append(["bf16 matmul, the limit", *[""] * 4, best, *[""] * 2, "100", *[""] * len(ours)])
    headers = (
        "",
        "images",
        "wall s",
        "CPU s",
        "fixed CPU s",
        "CPU ms/image",
        "peak MB",
        "first row s",
        "% of limit",
        *(f"times ({one})" for one in ours),
        "min cosine to (b)",
    )
    return tabulate(rows, headers=headers, disable_numparse=True, stralign="right", tablefmt="github")


def _row(
    runs: Sequence[Run], cost: dict[int, float], ours: Sequence[dict[int, float]], bound: dict[int, float]
) -> list[str]:
    images = max(run.images for run in runs)
    whole = [run for run in runs if run.images == images]
    fixed = [run.cpu - images * cost[run.round] for run in whole if run.round in cost]
    return [
        f"({runs[0].letter}) {runs[0].name}",
        f"{images}",
        f"{median(run.wall for run in whole):.1f}",
        f"{median(run.cpu for run in whole):.1f}",
        _spread(fixed, 1),
        _spread([1000 * seconds for seconds in cost.values()], 1),
        f"{median(run.peak_mb for run in whole):.0f}",
        f"{median(run.first_row for run in whole):.1f}",
        _spread([100 * part for part in ratios(bound, cost)], 0),
        *(_spread(ratios(cost, one), 2) for one in ours),
        f"{min(run.cosine for run in runs):.5f}",
    ]


def _spread(figures: Figures, digits: int) -> str:
    """The median, and the least and the most where there are several."""
    if not figures:
        return ""
    middle = f"{median(figures):.{digits}f}"
    return middle if len(figures) == 1 else f"{middle} ({min(figures):.{digits}f} to {max(figures):.{digits}f})"


if __name__ == "__main__":
    main()
