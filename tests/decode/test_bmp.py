"""BMP: every version of its header, depth and compression."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clipflow.decode import to_rgb
from tests.decode.makers import bmp, grey, packed, scene
from tests.decode.outcome import code, outcome, picture, shown

GREY, SCENE = grey(), scene()
SIZE = (SCENE.shape[1], SCENE.shape[0])
ALPHA = np.tile(np.linspace(0, 255, SIZE[0]).astype(np.uint8), (SIZE[1], 1))
# Red, green, blue and alpha, as Pillow knows them.
MASKS = {
    "BGRA": (0xFF0000, 0xFF00, 0xFF, 0xFF000000),
    "RGBA": (0xFF, 0xFF00, 0xFF0000, 0xFF000000),
    "ABGR": (0xFF000000, 0xFF0000, 0xFF00, 0xFF),
    "BGRX": (0xFF0000, 0xFF00, 0xFF, 0),
}


def four(order: str, alpha: np.ndarray) -> bytes:
    """Rows from the last to the first, the samples in the order of the bytes."""
    planes = {"R": SCENE[..., 0], "G": SCENE[..., 1], "B": SCENE[..., 2], "A": alpha, "X": alpha}
    return np.dstack([planes[name] for name in order])[::-1].astype(np.uint8).tobytes()


def rows(values: np.ndarray, bits: int) -> bytes:
    body = packed(values.reshape(len(values), -1), bits, "<")
    length = len(body) // len(values)
    lines = [body[i * length : (i + 1) * length] for i in range(len(values))]
    return b"".join(line + bytes(-length % 4) for line in lines[::-1])


@pytest.mark.parametrize("header", [40, 52, 56, 108, 124])
@pytest.mark.parametrize("order", MASKS)
def test_alpha_of_nothing_but_zeros_is_no_alpha(order: str, header: int) -> None:
    masks = MASKS[order] if header > 52 else MASKS[order][:3]
    data = bmp(four(order, 0 * ALPHA), SIZE, header=header, compression=3, masks=masks)
    opened = Image.open(io.BytesIO(data)) if header > 52 else None
    assert opened is None or np.array_equal(np.asarray(to_rgb(opened)), SCENE)
    with_alpha = bmp(four(order, ALPHA), SIZE, header=header, compression=3, masks=masks)
    if header <= 52 and order in ("RGBA",):
        # Without an alpha mask Pillow knows the commoner orders alone.
        assert code(data) == "unsupported_format"
        return
    assert np.array_equal(picture(shown(data)), SCENE)
    right = SCENE.astype(float)
    if header > 52 and order != "BGRX":
        right = right * ALPHA[..., None] / 255 + 255 - ALPHA[..., None].astype(float)
    assert np.abs(picture(shown(with_alpha)) - right).max() <= 0.5


@pytest.mark.parametrize("header", [40, 52, 56, 64, 108, 124])
@pytest.mark.parametrize("alpha", [0, 255, 128])
def test_uncompressed_pixels_of_four_bytes_have_no_alpha(alpha: int, header: int) -> None:
    data = bmp(four("BGRX", np.full_like(ALPHA, alpha)), SIZE, header=header)
    assert np.array_equal(picture(shown(data)), SCENE)


def test_masks_of_zero() -> None:
    data = bmp(four("BGRA", 0 * ALPHA), SIZE, header=124, compression=3, masks=(0, 0, 0, 0))
    assert np.array_equal(picture(shown(data)), SCENE)


@pytest.mark.parametrize("header", [12, 40, 52, 56, 64, 108, 124])
def test_three_bytes(header: int) -> None:
    data = bmp(rows(SCENE[..., ::-1], 8), SIZE, 24, header)
    assert np.array_equal(picture(shown(data)), SCENE)


@pytest.mark.parametrize("header", [40, 56, 108, 124])
@pytest.mark.parametrize(("masks", "depths"), [((0xF800, 0x7E0, 0x1F), (5, 6, 5)), ((0x7C00, 0x3E0, 0x1F), (5, 5, 5))])
def test_two_bytes(masks: tuple[int, ...], depths: tuple[int, ...], header: int) -> None:
    few = [SCENE[..., i].astype(np.uint16) >> (8 - depths[i]) for i in range(3)]
    values = few[0] << (depths[1] + depths[2]) | few[1] << depths[2] | few[2]
    data = bmp(rows(values, 16), SIZE, 16, header, 3, (*masks, 0) if header > 52 else masks)
    right = np.dstack([few[i] * 255 / (2 ** depths[i] - 1) for i in range(3)])
    assert np.abs(picture(shown(data)) - right).max() <= 1


@pytest.mark.parametrize("header", [40, 108, 124])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_palettes(bits: int, header: int) -> None:
    values = GREY >> (8 - bits)
    colours = np.random.default_rng(bits).integers(0, 256, (2**bits, 4)).astype(np.uint8)
    data = bmp(rows(values, bits), SIZE, bits, header, palette=colours.tobytes())
    assert np.array_equal(picture(shown(data)), colours[values][..., 2::-1])


def test_rows_from_the_top() -> None:
    data = bytearray(bmp(np.ascontiguousarray(SCENE[..., ::-1]).tobytes(), SIZE, 24))
    data[22:26] = struct.pack("<i", -SIZE[1])
    assert np.array_equal(picture(shown(bytes(data))), SCENE)


def test_run_lengths() -> None:
    colours = np.random.default_rng(3).integers(0, 256, (256, 4)).astype(np.uint8)
    lines = b"".join(bytes([SIZE[0], value, 0, 0]) for value in range(SIZE[1])) + b"\0\1"
    data = bmp(lines, SIZE, 8, compression=1, palette=colours.tobytes())
    right = np.repeat(colours[SIZE[1] - 1 :: -1, None, 2::-1], SIZE[0], 1)
    assert np.array_equal(picture(shown(data)), right)


@pytest.mark.parametrize(
    "odd",
    [
        {"bits": 16, "compression": 3, "masks": (0xF00, 0xF0, 0xF)},
        {"bits": 32, "compression": 3, "masks": (0x3FF00000, 0xFFC00, 0x3FF)},
        {"bits": 32, "compression": 6, "masks": (0xFF0000, 0xFF00, 0xFF, 0xFF000000)},
        {"bits": 0, "compression": 4},
        {"bits": 0, "compression": 5},
        {"bits": 24, "compression": 4},
        {"bits": 2},
        {"bits": 64},
    ],
)
def test_bitmaps_that_pillow_does_not_know_are_unsupported(odd: dict[str, Any]) -> None:
    assert code(bmp(bytes(SIZE[0] * SIZE[1] * 8), SIZE, **odd)) == "unsupported_format"


@pytest.mark.parametrize("odd", [{"bits": 24, "compression": 99}, {"bits": 23}, {"bits": 24, "header": 41}])
def test_headers_that_no_bitmap_has_are_corrupt(odd: dict[str, Any]) -> None:
    assert code(bmp(bytes(SIZE[0] * SIZE[1] * 4), SIZE, **odd)) == "corrupt"


def test_cut_bitmaps_are_truncated_and_their_own_word_on_their_size_does_not_count() -> None:
    data = bytearray(bmp(four("BGRX", ALPHA), SIZE))
    for length in (20, 60, len(data) // 2, len(data) - 4):
        assert code(bytes(data[:length])) == "truncated", length
    for size in (0, 100, 2**31):
        data[2:6] = struct.pack("<I", size)
        got = outcome(bytes(data))
        assert not isinstance(got, str), got
        assert np.array_equal(got.rgb, SCENE)
        assert not got.damaged


def test_pillows_own() -> None:
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        out = io.BytesIO()
        Image.fromarray(SCENE).convert(mode).save(out, "BMP")
        with Image.open(out) as image:
            assert np.array_equal(picture(shown(out.getvalue())), np.asarray(image.convert("RGB")))
