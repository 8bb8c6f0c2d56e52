"""Embedding photographs: clipflow beside a loop written by hand, each a process of its own, in turn.

Every contestant runs over N photographs and over a quarter of them. The difference divided is what one more
image costs; what is left is the fixed cost of imports, weights and the first commit. CPU-seconds are the
figure, because they hardly change when the machine has other work.
"""

import argparse
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median

import lance
import numpy as np
from tabulate import tabulate

from benchmarks.contestants import Contestant, contestants
from benchmarks.machine import described
from benchmarks.usage import Usage, measured

_SIZES = ("640x480", "2000x1500")
_SHARE = 4
_COLUMNS = (
    "",
    "wall s",
    "CPU s",
    "peak MB",
    "fixed CPU s",
    "CPU ms/image",
    "speed, (a)=1",
    "speed, (b)=1",
    "min cosine",
)


class Tally:
    """What the rounds of one contestant gave; figures are medians over rounds."""

    def __init__(self) -> None:
        self.whole: list[Usage] = []
        self.part: list[Usage] = []
        self.cosine = 1.0

    def of(self, figure: Callable[[Usage], float]) -> float:
        """A figure of the runs over all photographs."""
        return median(map(figure, self.whole))

    def marginal(self, images: int) -> float:
        """CPU-seconds that one more image costs."""
        pairs = zip(self.whole, self.part, strict=True)
        return median(whole.cpu - part.cpu for whole, part in pairs) / (images - images // _SHARE)


def main() -> None:
    """Parse, prepare, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embed", description="Speed beside a hand loop.")
    parser.add_argument("--images", type=int, default=256, help="photographs of each size (default 256)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each contestant (default 2)")
    parser.add_argument("--size", choices=(*_SIZES, "both"), default="640x480", help="of the photographs")
    call = parser.parse_args()
    if call.images < 2 * _SHARE or call.rounds < 1:
        parser.error(f"at least {2 * _SHARE} images and one round")
    print(described(), flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        home = Path(folder)
        measured("benchmarks.checkpoint", str(home / "checkpoint"))
        for size in _SIZES if call.size == "both" else (call.size,):
            _draw(home, call.images, size)
            tallies = _rounds(home, call.images, call.rounds)
            print(f"\n{call.images} photographs of {size}, medians of {call.rounds} round(s)")
            print(_table(tallies, call.images), flush=True)


def _draw(home: Path, images: int, size: str) -> None:
    for name in ("whole", "part"):
        shutil.rmtree(home / name, ignore_errors=True)
    measured("benchmarks.photographs", str(home / "whole"), str(images), size)
    (home / "part").mkdir()
    for path in sorted((home / "whole").iterdir())[: images // _SHARE]:
        # Hard links: the source follows no symbolic link out of its folder.
        os.link(path, home / "part" / path.name)


def _rounds(home: Path, images: int, rounds: int) -> dict[str, Tally]:
    tallies: dict[str, Tally] = defaultdict(Tally)
    reference = None
    for _ in range(rounds):
        for contestant in contestants():
            tally = tallies[contestant.name]
            usage, _unused = _run(contestant, home, "part", images // _SHARE)
            tally.part.append(usage)
            usage, vectors = _run(contestant, home, "whole", images)
            tally.whole.append(usage)
            reference = vectors if reference is None else reference
            tally.cosine = min(tally.cosine, float((vectors * reference).sum(1).min()))
    return tallies


def _run(contestant: Contestant, home: Path, photographs: str, images: int) -> tuple[Usage, np.ndarray]:
    """Its cost, and its vectors [images, dim] in the order of the addresses."""
    table = home / "table.lance"
    usage = measured(*contestant.command(home / photographs, home / "checkpoint", table))
    rows = lance.dataset(str(table)).to_table(columns=["source_uri", "vector"]).sort_by("source_uri")
    if len(rows) != images or rows.column("vector").null_count:
        raise RuntimeError(f"{contestant.name} made {len(rows)} rows of {images} photographs")
    flat = rows.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = flat.reshape(images, -1).astype(np.float64)
    for left in home.glob("table*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return usage, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _table(tallies: dict[str, Tally], images: int) -> str:
    costs = [tally.marginal(images) for tally in tallies.values()]
    rows = [
        (
            f"({'abcd'[at]}) {name}",
            f"{tally.of(lambda usage: usage.wall):.1f}",
            f"{tally.of(lambda usage: usage.cpu):.1f}",
            f"{tally.of(lambda usage: usage.peak_mb):.0f}",
            f"{tally.of(lambda usage: usage.cpu) - images * costs[at]:.1f}",
            f"{1000 * costs[at]:.1f}",
            f"{costs[0] / costs[at]:.2f}",
            f"{costs[1] / costs[at]:.2f}",
            f"{tally.cosine:.5f}",
        )
        for at, (name, tally) in enumerate(tallies.items())
    ]
    return tabulate(rows, headers=_COLUMNS, disable_numparse=True, stralign="right", tablefmt="github")


if __name__ == "__main__":
    main()
