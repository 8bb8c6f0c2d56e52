"""Preprocessing on the CPU: resize and crop in uint8, equal to Pillow within one grey level.

Pictures that shrink, the common and costly case, go through torch's antialiased uint8 interpolation, which does
what Pillow does three to seven times as fast. The rest goes through Pillow: pictures that hardly shrink, where
torch's coarser weights could add up to two grey levels; other filters than bicubic; and pictures so long and thin
that resizing would make a far larger picture than the crop keeps, where only the kept window is computed.

`exact` leaves torch out. Off levels are few, 3 to 5 pixels in 1,000, yet small random models with weights that tell
pictures well apart showed them in the fifth digit of a cosine.
"""

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from clipflow.encoders.geometry import Geometry
from clipflow.encoders.info import EncoderInfo

Pixels = npt.NDArray[np.uint8]
Span = tuple[int, int]

# Bilinear, which torch has as well, is off by a level at more pixels than bicubic is, and random SigLIP 2 models
# showed it in the fifth digit of a cosine.
_FAST = frozenset({"bicubic"})
# Radius of each filter in pixels of the coarser grid, as in Pillow's Resample.c.
_RADIUS = {"nearest": 0.5, "box": 0.5, "bilinear": 1.0, "hamming": 1.0, "bicubic": 2.0, "lanczos": 3.0}
# Shrunk by less than this, photographs and noise came out up to two levels off at a value in a million; from here on,
# nowhere.
_SHRUNK = 2.0
# Beyond this many times the kept pixels, the whole resized picture is not worth making.
_WASTE = 4
_LONGEST = 1 << 16
# Filter weights held at once; Pillow holds one float64 for each.
_WEIGHTS = 1 << 21


class Resize:
    """The preprocessing of every model whose pictures are resized and cropped.

    Args:
        geometry: What to compute. Normalising is left to the encoder, which does it on its device.
        exact: Whether pixels are Pillow's own also where they shrink, for five to nine times as long.
    """

    def __init__(self, geometry: Geometry, *, exact: bool = False) -> None:
        self.geometry = geometry
        self.exact = exact

    def __call__(self, rgb: Pixels, whole: tuple[int, int] | None = None) -> Pixels:
        """uint8 [height, width, 3] of any size to uint8 [height, width, 3] as `geometry` says.

        Pixels that are not rounded to grey levels come as [height, width, 6], see `fine`.

        Args:
            rgb: The picture, or a draft of it.
            whole: (height, width) of the whole picture, where `rgb` is a draft.
        """
        height, width = whole or rgb.shape[:2]
        if height == 0 or width == 0:
            raise ValueError(f"a picture of {width} x {height} pixels has nothing to preprocess")
        if not self.geometry.rounded and self.geometry.squash is not None:
            return fine(rgb, self.geometry.squash, str(self.geometry.filter))
        resized = self.needed(height, width)
        size = self.geometry.size or resized
        even = self.geometry.centre == "torchvision"
        rows, columns = (_window(full, kept, even) for full, kept in zip(resized, size, strict=True))
        found = _resample(rgb, resized, rows, columns, self.geometry.filter, self.exact)
        return _padded(found, resized, size, self.geometry)

    def needed(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture of this size is resized to, before any crop."""
        if self.geometry.patches is not None:
            return patched_size(height, width, *self.geometry.patches)
        if self.geometry.squash is not None:
            return self.geometry.squash
        if box := self.geometry.cover or self.geometry.contain:
            ratio = (min if self.geometry.cover else max)(height / box[0], width / box[1])
            # A line fitted into a square would round to nothing.
            return max(1, round(height / ratio)), max(1, round(width / ratio))
        if self.geometry.shortest is None:
            return height, width
        short, long = min(height, width), max(height, width)
        # Truncated and not rounded, as transformers' get_resize_output_image_size has it.
        longer = int(self.geometry.shortest * long / short)
        return (longer, self.geometry.shortest) if width <= height else (self.geometry.shortest, longer)


def load_preprocess(info: EncoderInfo) -> Resize:
    """See `clipflow.encoders.load_preprocess`."""
    return Resize(Geometry.from_body(info.preprocess))


def fine(rgb: Pixels, size: tuple[int, int], filter: str) -> Pixels:
    """Resized in float32, in steps of 1/256 of a grey level: uint8 [height, width, 6], whole levels before parts.

    Bytes still travel as bytes, and the encoder puts them together.
    """
    import torch

    planes = torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None]
    made = torch.nn.functional.interpolate(planes, size=size, mode=filter, antialias=True)
    steps = (made[0].permute(1, 2, 0).clamp(0, 255) * 256).round().to(torch.int32).numpy()
    return np.concatenate([steps >> 8, steps & 255], axis=2).astype(np.uint8)


def patched_size(height: int, width: int, side: int, most: int) -> tuple[int, int]:
    """(height, width) in whole patches of `side` pixels, at most `most` of them.

    The search for the scale is that of SigLIP 2's image processor, its start, precision and upper end included
    (github.com/google-research/big_vision, `get_image_size_for_max_num_patches`): others give other sizes.
    """
    exact = 1e-5
    low, high = exact / 10, 100.0

    def whole(scale: float) -> tuple[int, int]:
        down, across = (max(1, math.ceil(length * scale / side)) for length in (height, width))
        return down * side, across * side

    while high - low >= exact:
        middle = (low + high) / 2
        down, across = whole(middle)
        if (down // side) * (across // side) <= most:
            low = middle
        else:
            high = middle
    return whole(low)


def _window(full: int, kept: int, even: bool) -> Span:
    """The part of an axis of `full` pixels that a crop about the centre to `kept` pixels keeps.

    Of an odd rest the smaller half goes before, or by `even` whichever half is even, as in torchvision's center_crop.
    """
    if full <= kept:
        return 0, full
    first = round((full - kept) / 2) if even else (full - kept) // 2
    return first, first + kept


def _padded(found: Pixels, resized: tuple[int, int], size: tuple[int, int], geometry: Geometry) -> Pixels:
    if found.shape[:2] == size:
        return np.ascontiguousarray(found)
    canvas = np.full((*size, 3), geometry.fill, np.uint8)
    # Of an odd remainder the larger half goes before in transformers' center_crop, after in open_clip's.
    more = 1 if geometry.centre == "transformers" else 0
    top, left = (max(0, (kept - full + more) // 2) for full, kept in zip(resized, size, strict=True))
    canvas[top : top + found.shape[0], left : left + found.shape[1]] = found
    return canvas


def _resample(
    rgb: Pixels, resized: tuple[int, int], rows: Span, columns: Span, filter: str | None, exact: bool
) -> Pixels:
    if filter is None or resized == rgb.shape[:2]:
        return rgb[rows[0] : rows[1], columns[0] : columns[1]]
    kept = (rows[1] - rows[0]) * (columns[1] - columns[0])
    if resized[0] * resized[1] > _WASTE * kept or max(rgb.shape) > _LONGEST:
        return _window_only(rgb, resized, rows, columns, filter)
    shrunk = min(rgb.shape[0] / resized[0], rgb.shape[1] / resized[1])
    if filter in _FAST and shrunk >= _SHRUNK and not exact:
        whole = _by_torch(rgb, resized, filter)
    else:
        method = Image.Resampling[filter.upper()]
        whole = np.asarray(Image.fromarray(rgb).resize((resized[1], resized[0]), method))
    return whole[rows[0] : rows[1], columns[0] : columns[1]]


def _rows_first(source: tuple[int, int], resized: tuple[int, int]) -> bool:
    """Whether Pillow 13 shrinks (height, width) along the height first; found by trying all filters and many sizes.

    The order shows: between the passes values are rounded and cut off at 0 and 255.
    """
    return source[0] - resized[0] > 2 * max(source[1] - resized[1], 0)


def _by_torch(rgb: Pixels, resized: tuple[int, int], filter: str) -> Pixels:
    import torch

    # Kept as a view with channels last: torch's uint8 kernels are fast in that layout only.
    planes = torch.from_numpy(np.require(rgb, requirements=["C", "W"])).permute(2, 0, 1).unsqueeze(0)
    steps = [(resized[0], rgb.shape[1])] if _rows_first((rgb.shape[0], rgb.shape[1]), resized) else []
    for size in (*steps, resized):
        planes = torch.nn.functional.interpolate(planes, size=size, mode=filter, antialias=True)
    return planes.squeeze(0).permute(1, 2, 0).numpy()


def _window_only(rgb: Pixels, resized: tuple[int, int], rows: Span, columns: Span, filter: str) -> Pixels:
    """The window `rows` x `columns` of the picture resized to `resized`, without making the rest of it."""
    made = [
        np.concatenate(
            [
                _tile(rgb, resized, down, across, filter)
                for across in _shares(columns, rgb.shape[1], resized[1], filter)
            ],
            1,
        )
        for down in _shares(rows, rgb.shape[0], resized[0], filter)
    ]
    return np.concatenate(made, 0)


def _shares(span: Span, source: int, resized: int, filter: str) -> list[Span]:
    """A window in pieces whose filter weights fit into memory."""
    taps = 2 * _RADIUS[filter] * max(source / resized, 1.0) + 1
    step = max(1, int(_WEIGHTS / taps))
    return [(first, min(first + step, span[1])) for first in range(span[0], span[1], step)]


def _tile(rgb: Pixels, resized: tuple[int, int], rows: Span, columns: Span, filter: str) -> Pixels:
    top, bottom, above, below = _reach(rows, rgb.shape[0], resized[0], filter)
    left, right, before, after = _reach(columns, rgb.shape[1], resized[1], filter)
    part = Image.fromarray(np.ascontiguousarray(rgb[top:bottom, left:right]))
    method = Image.Resampling[filter.upper()]
    width, height = columns[1] - columns[0], rows[1] - rows[0]
    if _rows_first((rgb.shape[0], rgb.shape[1]), resized):
        part = part.resize((part.width, height), method, box=(0, above, part.width, below))
        return np.asarray(part.resize((width, height), method, box=(before, 0, after, height)))
    part = part.resize((width, part.height), method, box=(before, 0, after, part.height))
    return np.asarray(part.resize((width, height), method, box=(0, above, width, below)))


def _reach(span: Span, source: int, resized: int, filter: str) -> tuple[int, int, float, float]:
    """The source pixels that a window depends on, and where in them the window lies.

    Pillow keeps that place in single precision, so it is counted from the part and not from the picture.
    """
    scale = source / resized
    margin = _RADIUS[filter] * max(scale, 1.0) + 1
    first = max(0, math.floor(span[0] * scale - margin))
    last = min(source, math.ceil(span[1] * scale + margin))
    return first, last, span[0] * scale - first, min(span[1] * scale - first, last - first)
