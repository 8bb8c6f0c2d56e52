"""Pixel measures: cheap numbers of one decoded image, stored for every row so that any later policy can use them.

Luma is ITU-R BT.601-2 as Pillow computes it: (19595 R + 38470 G + 7471 B + 32768) >> 16.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

# Pillow is handed bands of this many pixels: fewer cost more calls, more leave the cache.
_BAND = 200_000
# The Laplacian holds ten bytes for each pixel of a band, which should stay in the cache of one core.
_BLUR_BAND = 100_000
# As many squares of at most 1020 as a sum of 32 bits has room for.
_RUN = 1024


def measure(rgb: Pixels, size_bytes: int) -> dict[str, float | str]:
    """All pixel measures of one image: those of `measure_shape` and of `measure_detail`.

    Args:
        rgb: uint8 [height, width, 3], at least one pixel.
        size_bytes: Length of the file it was decoded from, in bytes.
    """
    height, width = rgb.shape[:2]
    return {**measure_shape(height, width, size_bytes), **measure_detail(rgb)}


def measure_shape(height: int, width: int, size_bytes: int) -> dict[str, float | str]:
    """What the size of an image tells.

    Returns:
        min_side: The shorter side, pixels.
        aspect_ratio: Longer side over shorter side, at least 1.
        megapixels: Pixels / 1e6.
        bytes_per_pixel: File bytes over pixels.
    """
    short, long = sorted((height, width))
    return {
        "min_side": float(short),
        "aspect_ratio": long / short,
        "megapixels": height * width / 1e6,
        "bytes_per_pixel": size_bytes / (height * width),
    }


def measure_detail(rgb: Pixels) -> dict[str, float | str]:
    """What the pixels uint8 [height, width, 3] of an image tell.

    Returns:
        blur: Variance of the Laplacian of luma (Pech-Pacheco et al. 2000), kernel [[0,1,0],[1,-4,1],[0,1,0]],
            border mirrored without repeating the edge; low is blurred.
        entropy: Shannon entropy of the 256-bin luma histogram, bits.
        phash: Perceptual hash of 64 bits, 16 hex digits, equal to `imagehash.phash`; only where a symmetric
            picture makes coefficients equal the median exactly, rounding noise sets imagehash's bits and ours are 0.
    """
    grey = _luma(rgb)
    return {"blur": _blur(grey), "entropy": _entropy(grey), "phash": _phash(Image.fromarray(grey))}


def _luma(rgb: Pixels) -> Pixels:
    # Luma knows no neighbours, so bands need not be rows: Pillow takes none of 90 million pixels.
    flat = np.ascontiguousarray(rgb).reshape(1, -1, 3)
    grey = np.empty((1, flat.shape[1]), np.uint8)
    for first in range(0, flat.shape[1], _BAND):
        band = slice(first, first + _BAND)
        grey[:, band] = np.asarray(Image.fromarray(flat[:, band]).convert("L"))
    return grey.reshape(rgb.shape[:2])


def _blur(grey: Pixels) -> float:
    if grey.shape[1] > max(grey.shape[0], _BLUR_BAND):
        grey = np.ascontiguousarray(grey.T)  # The kernel is symmetric, and a band is one row at least.
    height, width = grey.shape
    wide = width + 2
    step = min(height, max(1, _BLUR_BAND // wide))
    room = np.empty((step + 2) * wide, np.int16)
    edges = np.zeros(-(-step * wide // _RUN) * _RUN, np.int16)
    long = np.empty((len(edges) // _RUN, _RUN), np.int32)
    squares = 0
    for top in range(0, height, step):
        end = min(top + step, height)
        flat = room[: (end - top + 2) * wide]
        band = flat.reshape(-1, wide)
        band[1:-1, 1:-1] = grey[top:end]
        band[0, 1:-1] = grey[top - 1 if top else min(1, height - 1)]
        band[-1, 1:-1] = grey[end if end < height else max(height - 2, 0)]
        band[:, 0] = band[:, min(2, width)]
        band[:, -1] = band[:, max(width - 1, 1)]
        # One long line is quicker than many rows; what it computes across the border is put to zero.
        size = (end - top) * wide
        inner = edges[: size - 2]
        np.add(flat[1 : size - 1], flat[2 * wide + 1 : -1], out=inner)
        inner += flat[wide : wide + size - 2]
        inner += flat[wide + 2 : wide + size]
        inner -= flat[wide + 1 : wide + size - 1] << 2
        edges[:size].reshape(-1, wide)[:, width:] = 0
        edges[size:] = 0
        long[...] = edges.reshape(long.shape)
        squares += int(np.einsum("ij,ij->i", long, long).sum(dtype=np.int64))
    count = height * width
    return float(max(squares / count - (_laplacian_sum(grey) / count) ** 2, 0.0))


def _laplacian_sum(grey: Pixels) -> int:
    """The sum of the Laplacian: inside, a pixel takes what it gives to its neighbours, so only the border counts."""
    total = 0
    for lines in (grey, grey.T):
        inside = min(1, len(lines) - 1)
        for line, sign in ((inside, 1), (0, -1), (-1 - inside, 1), (-1, -1)):
            total += sign * int(lines[line].sum(dtype=np.int64))
    return total


def _entropy(grey: Pixels) -> float:
    flat = grey.reshape(-1)
    quads = len(flat) // 4
    counts = np.bincount(flat[4 * quads :], minlength=256)
    if quads:
        # Read as pixels of four bands: equal neighbours then do not wait for each other's count.
        four = Image.frombuffer("RGBX", (quads, 1), flat[: 4 * quads], "raw", "RGBX", 0, 1).histogram()
        counts += np.array(four).reshape(4, 256).sum(0)
    total = len(flat)
    return float(max(0.0, -sum(n / total * math.log2(n / total) for n in counts.tolist() if n)))


_SIDE = 32
_LOW = 8
# Pillow's filter weights take 48 bytes for each pixel of a side; a longer one is averaged down first.
_LONGEST = 1 << 20
# DCT-II without normalisation, y[k] = 2 sum x[n] cos(pi k (2n + 1) / 2N); only the lowest frequencies are wanted.
_COSINES = 2 * np.cos(np.pi * np.outer(np.arange(_LOW), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))


def _phash(picture: Image.Image) -> str:
    if max(picture.size) > _LONGEST:
        picture = picture.reduce((1 + picture.width // _LONGEST, 1 + picture.height // _LONGEST))
    small = shrink(np.asarray(picture)).astype(np.float64)
    # What is zero in exact arithmetic must not become a bit by rounding noise.
    low = np.round(_COSINES @ small @ _COSINES.T, 6)
    bits = (low > np.median(low)).ravel()
    return np.packbits(bits).tobytes().hex()


# Columns that are made together: their windows overlap, and a product of matrices needs more than one.
_TOGETHER = 4
# Above so many multiplications OpenBLAS starts its threads, which costs more than it saves on busy cores.
_PRODUCT = 1 << 18


def shrink(grey: Pixels) -> Pixels:
    """A grey picture at 32 x 32, to the last bit as Pillow's Lanczos makes it, and four times as fast when it is large.

    Pillow goes along the rows first, with whole numbers: weights of 22 bits after the point, the sum rounded and
    clipped to a byte. Such sums are exact in float64 whatever their order, so a product of matrices does the same.
    """
    height, width = grey.shape
    # Pillow 13 takes pictures of twice their width down the columns first; small ones do not repay the weights.
    if 512 <= width <= 1 << 14 and height * width >= 1 << 18 and 5 * height <= 9 * width:
        first, end, weights = _lanczos(width)
        sums = np.empty((height, _SIDE))
        step = max(1, _PRODUCT // (_TOGETHER * weights.shape[1]))
        room = np.empty((step, width))
        for at in range(0, height, step):
            rows = room[: height - at]
            rows[...] = grey[at : at + step]
            for group, (left, right) in enumerate(zip(first, end, strict=True)):
                columns = slice(group * _TOGETHER, (group + 1) * _TOGETHER)
                np.matmul(rows[:, left:right], weights[group, : right - left], out=sums[at : at + step, columns])
        grey = np.clip(np.floor(sums + 0.5), 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))


@lru_cache(maxsize=8)  # pictures of a catalogue often share their width
def _lanczos(width: int) -> tuple[list[int], list[int], npt.NDArray[np.float64]]:
    """Pillow's weights for `width` pixels to 32: of each group of columns the window in the row, and its matrix."""
    scale = width / _SIDE
    centre = (np.arange(_SIDE) + 0.5) * scale
    first = np.maximum((centre - 3 * scale + 0.5).astype(int), 0)
    end = np.minimum((centre + 3 * scale + 0.5).astype(int), width)
    at = first[:, None] + np.arange((end - first).max())
    x = (at - centre[:, None] + 0.5) * (1 / scale)
    exact = np.where((at < end[:, None]) & (x >= -3) & (x < 3), np.sinc(x) * np.sinc(x / 3), 0)
    exact /= exact.sum(1, keepdims=True)
    whole = np.trunc(exact * 2**22 + np.copysign(0.5, exact)) / 2**22
    lefts, rights = first[::_TOGETHER], end[_TOGETHER - 1 :: _TOGETHER]
    weights = np.zeros((len(lefts), (first[_TOGETHER - 1 :: _TOGETHER] - lefts).max() + at.shape[1], _TOGETHER))
    for column in range(_SIDE):
        group, place = divmod(column, _TOGETHER)
        start = first[column] - lefts[group]
        weights[group, start : start + at.shape[1], place] = whole[column]
    return lefts.tolist(), rights.tolist(), weights
