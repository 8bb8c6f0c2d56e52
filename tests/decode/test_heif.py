"""HEIC by the plugin, and AVIF: two formats in one container."""

import io
import os
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from clipflow.decode import decode
from clipflow.decode.heif import heif_is_here
from clipflow.decode.revision import CHANGED_IN, REVISION, decoder_revision
from clipflow.failures import ImageFailure
from tests.decode.makers import scene
from tests.decode.outcome import ENOUGH, code, outcome, picture, shown
from tests.pictures import ORIENTATIONS, encoded

SCENE = scene(256, 192)
ALPHA = np.tile(np.linspace(0, 255, 256).astype(np.uint8), (192, 1))


def heic(image: Image.Image, **how: Any) -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(image).save(out, quality=95, **how)
    return out.getvalue()


PLAIN = heic(Image.fromarray(SCENE))


def near(data: bytes, right: np.ndarray) -> None:
    got = outcome(data)
    assert not isinstance(got, str), got
    assert got.rgb.shape == right.shape
    assert np.abs(got.rgb.astype(float) - right).mean() < 3
    assert got.media_type == "image/heic"
    assert not got.damaged


def test_pictures() -> None:
    near(PLAIN, SCENE)
    near(heic(Image.fromarray(SCENE).convert("L")), np.dstack([np.asarray(Image.fromarray(SCENE).convert("L"))] * 3))
    near(heic(Image.fromarray(SCENE), chroma=444), SCENE)


def test_grids() -> None:
    for side in (64, 96, 128):
        data = heic(Image.fromarray(SCENE), tile_size=side)
        assert b"grid" in data
        near(data, SCENE)


def test_alpha_lies_on_white() -> None:
    share = ALPHA[..., None] / 255.0
    near(heic(Image.fromarray(np.dstack([SCENE, ALPHA]))), SCENE * share + 255 * (1 - share))


@pytest.mark.parametrize("save_bits", [10, 12])
def test_more_than_8_bits(save_bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow_heif.options, "SAVE_HDR_TO_12_BIT", save_bits == 12)
    out = io.BytesIO()
    wide = SCENE.astype("<u2") * 257
    pillow_heif.from_bytes("RGB;16", (256, 192), wide.tobytes()).save(out, quality=95)
    assert pillow_heif.open_heif(out.getvalue(), convert_hdr_to_8bit=False).info["bit_depth"] == save_bits
    near(out.getvalue(), SCENE)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_turns_are_applied_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    # Phones say it twice, in the container and in EXIF.
    data = heic(Image.fromarray(SCENE), exif=exif.tobytes())
    turned = {
        1: SCENE,
        2: SCENE[:, ::-1],
        3: SCENE[::-1, ::-1],
        4: SCENE[::-1],
        5: SCENE.transpose(1, 0, 2),
        6: SCENE[::-1].transpose(1, 0, 2),
        7: SCENE[::-1, ::-1].transpose(1, 0, 2),
        8: SCENE.transpose(1, 0, 2)[::-1],
    }
    near(data, turned[orientation])


def test_the_primary_picture_is_taken() -> None:
    out = io.BytesIO()
    made = pillow_heif.from_pillow(Image.new("RGB", (64, 64)))
    made.add_from_pillow(Image.fromarray(SCENE))
    made.save(out, quality=95, primary_index=1)
    near(out.getvalue(), SCENE)


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_brands(brand: bytes) -> None:
    near(PLAIN[:8] + brand + PLAIN[12:], SCENE)


def test_cut_files_are_truncated() -> None:
    for share in (0.03, 0.05, 0.3, 0.6, 0.95):
        assert code(PLAIN[: int(len(PLAIN) * share)]) == "truncated", share


def test_bytes_behind_the_last_box_do_no_harm() -> None:
    for more in (b"\n", b"\0" * 100, b"SEFT" * 20, b"\0\0\0\x10free"):
        near(PLAIN + more, SCENE)


def test_limits_are_judged_before_pixels_are_made() -> None:
    pixels = SCENE.shape[0] * SCENE.shape[1]
    assert decode(PLAIN, pixels).rgb.size == 3 * pixels
    # What is shown may be cut from something larger, and a file may lie about either.
    at = PLAIN.index(b"ispe") + 8
    huge = PLAIN[:at] + struct.pack(">II", 40_000, 40_000) + PLAIN[at + 8 :]
    for data, most in ((PLAIN, pixels - 1), (huge, ENOUGH)):
        with pytest.raises(ImageFailure, match="too_many_pixels"):
            decode(data, most)
    small = PLAIN[:at] + struct.pack(">II", 64, 64) + PLAIN[at + 8 :]
    assert code(small) == "corrupt"


def test_other_codecs_in_the_container_are_unsupported() -> None:
    assert code(PLAIN.replace(b"hvc1", b"vvc1").replace(b"hvcC", b"vvcC")) == "unsupported_format"
    assert code(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == "unsupported_format"


def test_broken_files_are_corrupt() -> None:
    broken = bytearray(PLAIN)
    at = PLAIN.index(b"mdat") + 4
    broken[at : at + 40] = bytes(40)
    assert code(bytes(broken)) in ("corrupt", "truncated")


def test_the_revision_is_higher_where_the_plugin_is_and_below_the_next() -> None:
    assert heif_is_here()
    assert decoder_revision() == 2 * REVISION + 1
    assert set(CHANGED_IN.values()) <= set(range(REVISION + 1))
    told = subprocess.run(
        [sys.executable, "-c", _WITHOUT], input=PLAIN, capture_output=True, env=dict(os.environ), check=True
    )
    assert told.stdout.decode().split() == ["unsupported_format", str(2 * REVISION)]


_WITHOUT = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == "pillow_heif" else find(name, *more)
from clipflow.decode import decode
from clipflow.decode.revision import decoder_revision
from clipflow.failures import ImageFailure
try:
    decode(sys.stdin.buffer.read(), 10**8)
except ImageFailure as failure:
    print(failure.code, decoder_revision())
assert "pillow_heif" not in sys.modules
"""


AVIF = encoded(Image.fromarray(SCENE), "AVIF", quality=95, speed=10)


@pytest.mark.parametrize(
    "more", [b"\n", b"\0" * 7, b"\0" * 100, b"SEFT" * 20, b"\xff\xd9", b"\0\0\0\x10free", b"\0\0\0\1"]
)
def test_avif_with_bytes_behind_its_last_box(more: bytes) -> None:
    got = outcome(AVIF + more)
    assert not isinstance(got, str), got
    assert np.array_equal(got.rgb, picture(shown(AVIF)))
    assert not got.damaged


def test_cut_avif_is_truncated() -> None:
    for share in (0.03, 0.2, 0.5, 0.9, 0.99):
        assert code(AVIF[: int(len(AVIF) * share)]) == "truncated", share


def test_avif_brands() -> None:
    assert np.array_equal(picture(shown(AVIF[:8] + b"mif1" + AVIF[12:])), picture(shown(AVIF)))
    # Pillow's plugin does not open it.
    assert code(AVIF[:8] + b"MA1B" + AVIF[12:]) == "unsupported_format"


def test_avif_whose_last_box_is_longer_than_the_file() -> None:
    at = AVIF.index(b"mdat") - 4
    longer = AVIF[:at] + struct.pack(">I", len(AVIF) - at + 50) + AVIF[at + 4 :]
    got = outcome(longer)
    assert got == "truncated" or (not isinstance(got, str) and got.damaged)
