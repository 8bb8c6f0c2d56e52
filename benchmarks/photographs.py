"""Photographs to embed: cut from those that scikit-learn and scikit-image carry, so that nothing is downloaded.

python -m benchmarks.photographs FOLDER COUNT 640x480
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIZES = {"640x480": (640, 480), "2000x1500": (2000, 1500)}

_QUALITY = 90
_NOISE = 3.0
# Less of a picture than this, magnified, is a blur that no camera makes.
_SMALLEST_SHARE = 0.6


def draw(folder: Path, count: int, size: tuple[int, int], seed: int = 0) -> None:
    """Write `count` JPEG files of `size` (width, height), no two alike."""
    rng = np.random.default_rng(seed)
    originals = _originals()
    width, height = size
    # One field of noise, shifted: drawing a new one for every picture would take longer than all the rest.
    noise = rng.normal(0, _NOISE, (height, width, 3)).astype(np.int16)
    folder.mkdir(parents=True)
    for number in range(count):
        picture = _cut(originals[number % len(originals)], size, rng)
        grain = np.roll(noise, (int(rng.integers(height)), int(rng.integers(width))), (0, 1))
        grained = np.clip(np.asarray(picture, np.int16) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(grained).save(folder / f"{number:06}.jpg", quality=_QUALITY)


def _originals() -> list[Image.Image]:
    from skimage import data
    from sklearn.datasets import load_sample_images

    carried: tuple[Callable[[], np.ndarray], ...] = (
        data.astronaut,
        data.chelsea,
        data.coffee,
        data.hubble_deep_field,
        data.retina,
        data.rocket,
    )
    return [Image.fromarray(pixels) for pixels in (*load_sample_images().images, *(make() for make in carried))]


def _cut(original: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A part of the picture in the proportions of `size`, scaled to it, mirrored every other time."""
    width, height = size
    largest = min(original.width / width, original.height / height)
    scale = largest * rng.uniform(_SMALLEST_SHARE, 1)
    wide, high = int(width * scale), int(height * scale)
    left, top = int(rng.integers(original.width - wide + 1)), int(rng.integers(original.height - high + 1))
    part = original.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + wide, top + high))
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


if __name__ == "__main__":
    draw(Path(sys.argv[1]), int(sys.argv[2]), SIZES[sys.argv[3]])
