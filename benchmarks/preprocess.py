"""From the bytes of a JPEG to a model's input: clipflow beside transformers' image processor, on one thread.

Both decode, resize, crop and normalise to float32 in batches of 32; they take turns, and CPU-seconds count.
Then how far pixels are from each family's own, in grey levels, over the same photographs.
"""

import argparse
import io
import resource
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from benchmarks.conventions import Convention, conventions
from benchmarks.machine import described
from benchmarks.photographs import SIZES, draw
from clipflow.decode import decode
from clipflow.encoders.geometry import Geometry, read_geometry
from clipflow.encoders.preprocess import Resize

_BATCH = 32
_MOST = 10**8
Contestant = Callable[[Sequence[bytes]], object]


def theirs() -> Contestant:
    """What `AutoProcessor` does without torchvision."""
    processor = CLIPImageProcessorPil()

    def run(files: Sequence[bytes]) -> object:
        images = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
        return processor(images=images, return_tensors="pt")["pixel_values"]

    return run


def ours(geometry: Geometry, *, draft: bool = False) -> Contestant:
    """What a worker and an encoder do; without the measures, which transformers does not take."""
    resize = Resize(geometry)
    std = torch.tensor(geometry.std).view(1, 3, 1, 1)
    factor, shift = geometry.scale / std, torch.tensor(geometry.mean).view(1, 3, 1, 1) / std

    def pixels(data: bytes) -> np.ndarray:
        found = decode(data, _MOST, resize.needed if draft else None)
        return resize(found.rgb, (found.height, found.width))

    def run(files: Sequence[bytes]) -> object:
        raw = torch.from_numpy(np.stack([pixels(data) for data in files]))
        return raw.permute(0, 3, 1, 2).contiguous().float().mul_(factor).sub_(shift)

    return run


def main() -> None:
    """Parse, draw, take turns, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preprocess", description="Preprocessing, side by side.")
    parser.add_argument("--images", type=int, default=96, help="photographs of each size (default 96)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant (default 5)")
    call = parser.parse_args()
    torch.set_num_threads(1)
    print(described(("torch", "transformers", "pillow", "simplejpeg")), flush=True)
    geometry = read_geometry({}, "clip")
    contestants = {
        "transformers, CLIPImageProcessorPil": theirs(),
        "clipflow": ours(geometry),
        "clipflow, decode: draft": ours(geometry, draft=True),
    }
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as home:
        for size, shape in SIZES.items():
            draw(Path(home) / size, call.images, shape)
            files = [path.read_bytes() for path in sorted((Path(home) / size).iterdir())]
            print(f"\n{len(files)} photographs of {size}, {call.rounds} rounds")
            print(_speeds(contestants, files, call.rounds))
            print(f"\n{_levels(conventions(), files)}", flush=True)


def _speeds(contestants: dict[str, Contestant], files: Sequence[bytes], rounds: int) -> str:
    spent: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, run in contestants.items():
            began = _cpu()
            for at in range(0, len(files), _BATCH):
                run(files[at : at + _BATCH])
            spent[name].append(1000 * (_cpu() - began) / len(files))
    # The first turn warms up.
    turns = {name: costs[1:] for name, costs in spent.items()}
    first = next(iter(turns.values()))
    table = []
    for name, costs in turns.items():
        ratios = [one / own for one, own in zip(first, costs, strict=True)]
        table.append((name, f"{median(costs):.2f}", f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"))
    headers = ("", "CPU ms/image", "speed, transformers = 1")
    return tabulate(table, headers=headers, disable_numparse=True, tablefmt="github")


def _levels(chosen: dict[str, Convention], files: Sequence[bytes]) -> str:
    table = []
    for name, convention in chosen.items():
        resize = Resize(convention.geometry)
        worst, off, total = 0, 0, 0
        for data in files:
            rgb = decode(data, _MOST).rgb
            apart = np.abs(resize(rgb).astype(int) - convention.reference(rgb).astype(int))
            worst, off, total = max(worst, int(apart.max())), off + int((apart > 0).sum()), total + apart.size
        table.append((name, worst, f"{100 * off / total:.2f} %"))
    headers = ("grey levels to the family's own", "at most", "values that differ")
    return tabulate(table, headers=headers, disable_numparse=True, tablefmt="github")


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
