"""Embedding photographs: clipflow beside what users have instead, each a process of its own, in turn.

Every contestant runs over N photographs and over a quarter of them. The difference divided is what one more
image costs; what is left is the fixed cost of imports, weights and the first commit. CPU-seconds are the
figure, because they hardly change when the machine has other work. A measurement is a line of JSON, written as
soon as it is there; `benchmarks.figures` makes tables and a plot of such lines.
"""

import argparse
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import lance
import numpy as np

from benchmarks.contestants import OPEN_CLIP_PYTHON, REFERENCE, Contestant, Work, chosen, credentials
from benchmarks.figures import Run, table
from benchmarks.machine import described
from benchmarks.photographs import SIZES
from benchmarks.usage import ROOT, Usage, measured

_SHARE = 4
_DIM = 512


def main() -> None:
    """Parse, prepare, run, print."""
    call = _call()
    contestants = chosen(call.only)
    print(described(), flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        home = Path(folder)
        raw = call.raw or home / "runs.jsonl"
        prepare(home, open_clip=any(one.letter == "e" for one in contestants))
        runs: list[Run] = []
        for size in call.size:
            draw(home, size, {count for one in contestants for count in counts(one, call.images, call.slow_images)})
            for number, delay in itertools.product(range(call.rounds), call.delay):
                for run in rounds(home, contestants, call.images, call.slow_images, size, delay, number):
                    runs.append(run)
                    with raw.open("a") as file:
                        file.write(run.line())
                    print(run.short(), file=sys.stderr, flush=True)
        for size, delay in itertools.product(call.size, call.delay):
            print(f"\nPhotographs of {size}, {delay} ms a request, {call.rounds} round(s)\n")
            print(table([run for run in runs if (run.size, run.delay) == (size, delay)]), flush=True)


def _call() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embed", description="Speed beside others.")
    parser.add_argument("--images", type=int, default=2000, help="photographs of each size (default 2000)")
    parser.add_argument("--slow-images", type=int, default=600, help="for the slow contestants (default 600)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contestant (default 5)")
    parser.add_argument("--size", nargs="+", choices=tuple(SIZES), default=list(SIZES), help="of the photographs")
    parser.add_argument("--delay", nargs="+", type=int, default=[0], help="ms a request; 0 reads files (default 0)")
    parser.add_argument("--only", nargs="+", metavar="LETTER", help="these contestants, and (b)")
    parser.add_argument("--raw", type=Path, help="append the measurements to this file, a JSON object a line")
    call = parser.parse_args()
    if min(call.images, call.slow_images) < 2 * _SHARE or call.rounds < 1 or min(call.delay) < 0:
        parser.error(f"at least {2 * _SHARE} images, one round, and no negative delay")
    return call


def counts(contestant: Contestant, images: int, slow_images: int) -> tuple[int, int]:
    """How many photographs its two runs are over."""
    most = min(images, slow_images) if contestant.slow else images
    return most // _SHARE, most


def prepare(home: Path, *, open_clip: bool = False) -> None:
    """The checkpoint, and the same for open_clip."""
    measured("benchmarks.checkpoint", str(home / "checkpoint"))
    if open_clip:
        measured(
            "benchmarks.open_clip_weights",
            str(home / "checkpoint"),
            str(home / "open_clip.pt"),
            python=str(OPEN_CLIP_PYTHON),
        )


def draw(home: Path, size: str, wanted: set[int]) -> None:
    """A folder of photographs for every number wanted, the smaller ones parts of the largest."""
    shutil.rmtree(home / "store", ignore_errors=True)
    (home / "store").mkdir()
    most = max(wanted)
    measured("benchmarks.photographs", str(home / "store" / str(most)), str(most), size)
    paths = sorted((home / "store" / str(most)).iterdir())
    for count in wanted - {most}:
        (home / "store" / str(count)).mkdir()
        for path in paths[:count]:
            # Hard links: the source follows no symbolic link out of its folder.
            os.link(path, home / "store" / str(count) / path.name)


def rounds(
    home: Path, contestants: Sequence[Contestant], images: int, slow_images: int, size: str, delay: int, number: int
) -> Iterator[Run]:
    """One round: the machine's limit, and every contestant twice, the first being the reference."""
    reference: dict[str, np.ndarray] = {}
    peak = float(measured("benchmarks.roofline").output)
    with _store(home, delay) as endpoint:
        for contestant in contestants:
            for count in counts(contestant, images, slow_images):
                usage, first, vectors = _run(contestant, home, endpoint, count)
                if contestant.letter == REFERENCE:
                    reference |= vectors
                yield Run(
                    contestant.letter,
                    contestant.name,
                    contestant.ours,
                    size,
                    delay,
                    number,
                    count,
                    usage.wall,
                    usage.cpu,
                    usage.peak_mb,
                    first - usage.began,
                    min(float(vector @ reference[name]) for name, vector in vectors.items()),
                    peak,
                )


@contextmanager
def _store(home: Path, delay: int) -> Iterator[str | None]:
    """The address of a store that answers late; None for no delay, where files are read."""
    if not delay:
        yield None
        return
    command = [sys.executable, "-m", "benchmarks.front", str(home / "store"), str(delay)]
    with Popen(command, cwd=ROOT, stdout=PIPE, text=True, start_new_session=True) as front:
        assert front.stdout is not None  # asked for above
        try:
            yield f"http://127.0.0.1:{int(front.stdout.readline())}"
        finally:
            front.kill()


def _run(
    contestant: Contestant, home: Path, endpoint: str | None, count: int
) -> tuple[Usage, float, dict[str, np.ndarray]]:
    """Its cost, when its first row was there in Unix time, and its vectors by file name, of length 1."""
    folder, made, listed = home / "store" / str(count), home / "table.lance", home / "listed.txt"
    root = f"{endpoint}/{count}" if endpoint else str(folder)
    listed.write_text("\n".join(f"{root}/{path.name}" for path in sorted(folder.iterdir())))
    listing = f"s3://{count}/" if endpoint else f"{folder}/"
    work = Work(listing, endpoint, listed, home / "checkpoint", home / "open_clip.pt", made)
    usage = measured(*contestant.command(work), python=contestant.python, environment=credentials())
    dataset = lance.dataset(str(made))
    # Lance turns its number into a time before it answers; its types know both.
    times: Any = [one["timestamp"] for one in dataset.versions() if int(one["metadata"]["total_rows"])]
    first = min(times).timestamp()
    rows = dataset.to_table(columns=["source_uri", "vector"])
    names = [uri.rpartition("/")[2] for uri in rows.column("source_uri").to_pylist()]
    if len(set(names)) != count or len(names) != count or rows.column("vector").null_count:
        raise RuntimeError(f"{contestant.name} made {len(names)} rows of {count} photographs:\n{usage.output[-4000:]}")
    vectors = rows.column("vector").combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(count, _DIM)
    vectors = vectors.astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for left in home.glob("table*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    return usage, first, dict(zip(names, vectors, strict=True))


if __name__ == "__main__":
    main()
