"""Pixel measures: cheap numbers of one decoded image, stored for every row so that any later policy can use them.

Luma is ITU-R BT.601-2 as Pillow computes it: (19595 R + 38470 G + 7471 B + 32768) >> 16.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

# Rows are taken in bands of about this many pixels, so that what is computed from a band finds it in the cache.
_BAND = 200_000


def measure(rgb: Pixels, size_bytes: int) -> dict[str, float | str]:
    """All pixel measures of one image.

    Args:
        rgb: uint8 [height, width, 3], at least one pixel.
        size_bytes: Length of the file it was decoded from, in bytes.

    Returns:
        min_side: The shorter side, pixels.
        aspect_ratio: Longer side over shorter side, at least 1.
        megapixels: Pixels / 1e6.
        blur: Variance of the Laplacian of luma (Pech-Pacheco et al. 2000), kernel [[0,1,0],[1,-4,1],[0,1,0]],
            border mirrored without repeating the edge; low is blurred.
        entropy: Shannon entropy of the 256-bin luma histogram, bits.
        bytes_per_pixel: File bytes over pixels.
        phash: Perceptual hash of 64 bits, 16 hex digits, equal to `imagehash.phash`; only where a symmetric
            picture makes coefficients equal the median exactly, rounding noise sets imagehash's bits and ours are 0.
    """
    height, width = rgb.shape[:2]
    grey = _luma(rgb)
    picture = Image.fromarray(grey)
    short, long = sorted((height, width))
    return {
        "min_side": float(short),
        "aspect_ratio": long / short,
        "megapixels": height * width / 1e6,
        "blur": _blur(grey),
        "entropy": _entropy(picture.histogram()),
        "bytes_per_pixel": size_bytes / (height * width),
        "phash": _phash(picture),
    }


def _bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _BAND // width)
    for top in range(0, height, step):
        yield top, min(top + step, height)


def _luma(rgb: Pixels) -> Pixels:
    # Luma knows no neighbours, so bands need not be rows: Pillow takes none of 90 million pixels.
    flat = np.ascontiguousarray(rgb).reshape(1, -1, 3)
    grey = np.empty((1, flat.shape[1]), np.uint8)
    for first in range(0, flat.shape[1], _BAND):
        band = slice(first, first + _BAND)
        grey[:, band] = np.asarray(Image.fromarray(flat[:, band]).convert("L"))
    return grey.reshape(rgb.shape[:2])


def _blur(grey: Pixels) -> float:
    if grey.shape[1] > max(grey.shape[0], _BAND):
        grey = np.ascontiguousarray(grey.T)  # The kernel is symmetric, and a band is one row at least.
    height, width = grey.shape
    total = squares = 0.0
    for top, end in _bands(height, width):
        band = np.empty((end - top + 2, width + 2), np.int16)
        band[1:-1, 1:-1] = grey[top:end]
        band[0, 1:-1] = grey[top - 1 if top else min(1, height - 1)]
        band[-1, 1:-1] = grey[end if end < height else max(height - 2, 0)]
        band[:, 0] = band[:, min(2, width)]
        band[:, -1] = band[:, max(width - 1, 1)]
        edges = band[1:-1, 1:-1] * np.int16(-4)
        for neighbour in (band[:-2, 1:-1], band[2:, 1:-1], band[1:-1, :-2], band[1:-1, 2:]):
            edges += neighbour
        # Sums of whole numbers below 2**53 are exact in float64, in any order, on any machine.
        exact = edges.astype(np.float64).ravel()
        total += float(exact.sum())
        # Not a dot product: BLAS would start its threads for it, which costs ten times the sum on busy cores.
        squares += float(np.einsum("i,i->", exact, exact))
    count = height * width
    return float(max(squares / count - (total / count) ** 2, 0.0))


def _entropy(histogram: list[int]) -> float:
    total = sum(histogram)
    return max(0.0, -sum(n / total * math.log2(n / total) for n in histogram if n))


_SIDE = 32
_LOW = 8
# Pillow's filter weights take 48 bytes for each pixel of a side; a longer one is averaged down first.
_LONGEST = 1 << 20
# DCT-II without normalisation, y[k] = 2 sum x[n] cos(pi k (2n + 1) / 2N); only the lowest frequencies are wanted.
_COSINES = 2 * np.cos(np.pi * np.outer(np.arange(_LOW), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))


def _phash(picture: Image.Image) -> str:
    if max(picture.size) > _LONGEST:
        picture = picture.reduce((1 + picture.width // _LONGEST, 1 + picture.height // _LONGEST))
    small = np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), np.float64)
    # What is zero in exact arithmetic must not become a bit by rounding noise.
    low = np.round(_COSINES @ small @ _COSINES.T, 6)
    bits = (low > np.median(low)).ravel()
    return np.packbits(bits).tobytes().hex()
