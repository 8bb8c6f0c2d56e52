"""TIFF: every photometric meaning, depth, order and layout is shown as its definition says, or not at all."""

import zlib
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.decode.makers import grey, packed, scene, tiff
from tests.decode.outcome import picture, shown

Order = Literal["<", ">"]
ORDERS: tuple[Order, ...] = ("<", ">")
GREY, SCENE = grey(), scene()
INKS = np.asarray(Image.fromarray(SCENE).convert("CMYK"))
ALPHA = np.tile(np.linspace(0, 255, SCENE.shape[1]).astype(np.uint8), (len(SCENE), 1))
NAMES = {"planar": 284, "fill": 266, "extra": 338, "format": 339, "subfile": 254, "old_subfile": 255, "inks": 332}
Samples = npt.NDArray[np.integer[Any]]


def described(samples: Samples, bits: int, photometric: int, **more: int) -> dict[int, list[int]]:
    """The tags of samples [height, width] or [height, width, count]."""
    count = samples.shape[2] if samples.ndim == 3 else 1
    height, width = samples.shape[:2]
    found = {256: [width], 257: [height], 258: [bits] * count, 259: [1], 262: [photometric], 277: [count]}
    return found | {NAMES[name]: [value] for name, value in more.items()}


def stored(
    samples: Samples, bits: int, photometric: int, order: Order = "<", squeeze: bool = False, **more: int
) -> bytes:
    """A TIFF in strips of 16 rows, one plane after the other where `planar` is 2."""
    found: dict[int, Any] = described(samples, bits, photometric, **more)
    planes = np.moveaxis(samples, 2, 0) if samples.ndim == 3 and more.get("planar") == 2 else [samples]
    parts = []
    for plane in planes:
        rows = np.asarray(plane).reshape(len(plane), -1)
        parts += [packed(rows[top : top + 16], bits, order, more.get("fill") == 2) for top in range(0, len(rows), 16)]
    if squeeze:
        parts = [zlib.compress(part) for part in parts]
        found[259] = [8]
    return tiff(found | {273: [], 278: [16], 279: [len(part) for part in parts]}, parts, order)


def on_white(picture: Any, alpha: Any) -> Any:
    share = alpha[..., None] / 255
    return picture * share + 255 * (1 - share)


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize(("fill", "squeeze"), [(1, False), (1, True), (2, False)])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", range(1, 17))
def test_grey_of_every_depth(bits: int, photometric: int, order: Order, fill: int, squeeze: bool, planar: int) -> None:
    values = np.round(GREY.astype(float) * (2**bits - 1) / 255).astype(np.uint32)
    right = values >> (bits - 8) if bits >= 8 else np.round(values * 255 / (2**bits - 1))
    if photometric == 0:
        values = 2**bits - 1 - values
    got = shown(stored(values, bits, photometric, order, squeeze, fill=fill, planar=planar))
    known = {
        12: (photometric, order, fill) == (1, "<", 1),
        16: (order, fill) == ("<", 1) or (photometric, fill) == (1, 1) or (photometric, order) == (1, "<"),
        8: (photometric, fill) != (0, 2),
    }
    if known.get(bits, bits in (1, 2, 4)):
        assert np.array_equal(picture(got)[..., 1], right)
    else:
        assert got == "unsupported_format"


PREMULTIPLIED = (SCENE * (ALPHA[..., None] / 255)).astype(np.uint8)
# Samples, photometric meaning, what the last of them is (tag 338), and what is right.
LAYOUTS: dict[str, tuple[Samples, int, dict[str, int], Any]] = {
    "rgb": (SCENE, 2, {}, SCENE),
    "alpha": (np.dstack([SCENE, ALPHA]), 2, {"extra": 2}, on_white(SCENE, ALPHA)),
    "alpha of zeros": (np.dstack([SCENE, 0 * ALPHA]), 2, {"extra": 2}, np.full_like(SCENE, 255)),
    "premultiplied": (np.dstack([PREMULTIPLIED, ALPHA]), 2, {"extra": 1}, on_white(SCENE, ALPHA)),
    "something else": (np.dstack([SCENE, ALPHA]), 2, {"extra": 0}, SCENE),
    "not stated": (np.dstack([SCENE, ALPHA]), 2, {}, on_white(SCENE, ALPHA)),
    "not stated, zeros": (np.dstack([SCENE, 0 * ALPHA]), 2, {}, SCENE),
    "inks": (INKS, 5, {}, SCENE),
    "other inks": (INKS, 5, {"inks": 2}, None),
    "grey and alpha": (np.dstack([GREY, ALPHA]), 1, {"extra": 2}, on_white(np.dstack([GREY] * 3), ALPHA)),
    "grey premultiplied": (np.dstack([GREY, ALPHA | 255]), 1, {"extra": 1}, np.dstack([GREY] * 3)),
    "grey and something else": (np.dstack([GREY, ALPHA]), 1, {"extra": 0}, np.dstack([GREY] * 3)),
    "signed": (SCENE, 2, {"format": 2}, None),
    "CIELAB": (SCENE, 8, {}, None),
}


def _is_decoded(layout: str, bits: int, planar: int, squeeze: bool) -> bool:
    by_libtiff = squeeze or bits == 16
    match layout:
        case "other inks" | "signed" | "CIELAB":
            return False
        case "grey and alpha" | "grey premultiplied":
            return (bits, planar) == (8, 1)
        case "grey and something else":
            return planar == 2 if bits == 16 else planar == 1 or squeeze
        case "not stated" | "not stated, zeros":
            return planar == 1 or not by_libtiff
        case "something else":
            return planar == 1 or by_libtiff
    return True


@pytest.mark.parametrize("squeeze", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_colours_in_every_layout(layout: str, bits: int, planar: int, order: Order, squeeze: bool) -> None:
    samples, photometric, more, right = LAYOUTS[layout]
    wide = samples.astype(np.uint16) * (257 if bits == 16 else 1)
    got = shown(stored(wide, bits, photometric, order, squeeze, planar=planar, **more))
    if _is_decoded(layout, bits, planar, squeeze):
        # Premultiplied samples are whole numbers, and Pillow divides them again.
        assert np.abs(picture(got) - right.astype(float)).max() <= (2 if layout == "premultiplied" else 0.5)
    else:
        assert got == "unsupported_format"
