"""GIF and WebP: the first frame on its canvas, and files that do not end as they should."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.decode.makers import scene
from tests.decode.outcome import code, outcome, picture, shown
from tests.pictures import encoded

SMALL = Image.fromarray(scene()).quantize(16)
WIDTH, HEIGHT = SMALL.size
PLAIN = np.asarray(SMALL.convert("RGB"))


def gif(image: Image.Image, size: tuple[int, int], place: tuple[int, int], **how: Any) -> bytes:
    """A GIF whose first frame lies somewhere on a canvas."""
    data = bytearray(encoded(image, "GIF", **how))
    data[6:10] = struct.pack("<HH", *size)
    at = 13 + 3 * (2 << (data[10] & 7)) * (data[10] >> 7)
    while data[at : at + 1] == b"!":
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    assert data[at : at + 1] == b","
    data[at + 1 : at + 5] = struct.pack("<HH", *place)
    return bytes(data)


def on_canvas(pixels: np.ndarray, size: tuple[int, int], place: tuple[int, int]) -> np.ndarray:
    left, top = place
    canvas = np.full((max(size[1], top + len(pixels)), max(size[0], left + pixels.shape[1]), 3), 255, np.uint8)
    canvas[top : top + len(pixels), left : left + pixels.shape[1]] = pixels
    return canvas


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("place", [(0, 0), (20, 10), (52, 60), (90, 70)])
@pytest.mark.parametrize("mode", ["P", "L"])
def test_gif_is_white_outside_its_first_frame(
    mode: str, place: tuple[int, int], moving: bool, interlace: int, transparent: bool
) -> None:
    image = SMALL if mode == "P" else SMALL.convert("L")
    how: dict[str, Any] = {"interlace": interlace}
    right = np.asarray(image.convert("RGB"))
    if transparent:
        how["transparency"] = int(np.asarray(image)[3, 3])
        right = np.where((np.asarray(image) == how["transparency"])[..., None], 255, right)
    if moving:
        how |= {"save_all": True, "append_images": [Image.new("RGB", image.size)], "disposal": 2}
    data = gif(image, (100, 100), place, **how)
    assert np.array_equal(picture(shown(data)), on_canvas(right, (100, 100), place))


@pytest.mark.parametrize("end", [1, 2])
def test_a_gif_without_its_trailer_is_damaged(end: int) -> None:
    got = outcome(encoded(SMALL, "GIF")[:-end])
    assert not isinstance(got, str), got
    assert np.array_equal(got.rgb, PLAIN)
    assert got.damaged


def test_a_gif_with_more_behind_is_sound() -> None:
    moving = encoded(SMALL, "GIF", save_all=True, append_images=[Image.new("RGB", SMALL.size)], comment=b"hello" * 99)
    for data in (encoded(SMALL, "GIF"), moving):
        for more in (b"", b"\0", b"\0" * 900, b"behind; the end", b"!!,,,;;"):
            got = outcome(data + more)
            assert not isinstance(got, str), got
            assert np.array_equal(got.rgb, PLAIN)
            assert not got.damaged
    got = outcome(moving[:-10])
    assert not isinstance(got, str)
    assert got.damaged


def test_a_cut_gif_is_truncated() -> None:
    data = encoded(SMALL, "GIF")
    for length in (7, 20, 60, len(data) // 2, len(data) - 5):
        assert code(data[:length]) == "truncated", length


def webp(size: tuple[int, int], place: tuple[int, int], alpha: bool) -> bytes:
    """An animation whose first frame lies somewhere on a canvas."""
    frames = [SMALL.convert("RGB"), Image.new("RGB", SMALL.size)]
    data = bytearray(encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    at = data.index(b"VP8X")
    data[at + 8] = data[at + 8] & ~0x10 | 0x10 * alpha
    data[at + 12 : at + 18] = (size[0] - 1).to_bytes(3, "little") + (size[1] - 1).to_bytes(3, "little")
    at = data.index(b"ANMF")
    data[at + 8 : at + 14] = (place[0] // 2).to_bytes(3, "little") + (place[1] // 2).to_bytes(3, "little")
    return bytes(data)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("place", [(0, 0), (20, 10), (52, 60)])
def test_webp_is_white_outside_its_first_frame(place: tuple[int, int], alpha: bool) -> None:
    assert np.array_equal(picture(shown(webp((100, 100), place, alpha))), on_canvas(PLAIN, (100, 100), place))


def test_a_webp_that_is_shorter_than_it_says_is_truncated() -> None:
    data = encoded(SMALL.convert("RGB"), "WEBP", lossless=True)
    for length in (16, 40, len(data) // 2, len(data) - 2):
        assert code(data[:length]) == "truncated"
    longer = data[:4] + struct.pack("<I", len(data) + 92) + data[8:]
    assert code(longer) == "truncated"
    shorter = data[:4] + struct.pack("<I", len(data) - 90) + data[8:]
    assert code(shorter) == "corrupt"
    got = outcome(data + b"behind the end")
    assert not isinstance(got, str)
    assert not got.damaged


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG", "AVIF"])
def test_orientation_that_stands_in_xmp_alone_turns_nothing(kind: str) -> None:
    image = SMALL.convert("RGB")
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    with Image.open(io.BytesIO(encoded(image, kind, xmp=xmp))) as opened:
        if kind != "PNG":
            assert opened.getexif()[0x0112] == 6  # so Pillow says
    assert picture(shown(encoded(image, kind, xmp=xmp))).shape == PLAIN.shape
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = picture(shown(encoded(image, kind, xmp=xmp, exif=exif)))
    assert np.abs(turned[::-1, ::-1].astype(int) - PLAIN).mean() < 12
