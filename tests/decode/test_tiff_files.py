"""TIFF files as cameras, scanners and careless writers make them."""

import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from clipflow.decode import to_rgb
from tests.decode.makers import tiff
from tests.decode.outcome import code, outcome, picture, shown
from tests.decode.test_tiff import GREY, ORDERS, SCENE, Order, described, stored
from tests.pictures import encoded

HEIGHT, WIDTH = SCENE.shape[:2]
PREVIEW = {**described(SCENE, 8, 2), 273: [], 278: [HEIGHT], 279: [SCENE.nbytes]}
SENSOR = {**described(np.zeros((80, 96), np.uint16), 16, 32803), 273: [], 278: [80], 279: [80 * 96 * 2]}


@pytest.mark.parametrize("squeeze", [None, "zlib", "lzma"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tile", [None, (16, 16), (32, 64)])
def test_tiles(tile: tuple[int, int] | None, order: Order, squeeze: str | None) -> None:
    import io

    for planar, samples in (("contig", SCENE), ("separate", np.moveaxis(SCENE, 2, 0).copy())):
        for wide in (1, 257):
            out = io.BytesIO()
            made = samples.astype(np.uint16) * wide if wide > 1 else samples
            how: Any = {"byteorder": order, "compression": squeeze, "tile": tile, "planarconfig": planar}
            tifffile.imwrite(out, made, photometric="rgb", **how)
            assert np.array_equal(picture(shown(out.getvalue())), SCENE)


@pytest.mark.parametrize("kind", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "zstd", "jpeg"])
def test_compressions(kind: str) -> None:
    got = picture(shown(encoded(Image.fromarray(SCENE), "TIFF", compression=kind)))
    assert np.abs(got - SCENE.astype(int)).mean() < (4 if kind == "jpeg" else 0.001)


@pytest.mark.parametrize("kind", ["group3", "group4", "tiff_ccitt"])
def test_fax(kind: str) -> None:
    page = Image.fromarray(SCENE).convert("1")
    assert np.array_equal(picture(shown(encoded(page, "TIFF", compression=kind))), np.asarray(page.convert("RGB")))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("planar", [1, 2])
def test_palettes_of_16_bits_and_of_those_that_took_them_for_8(bits: int, old: bool, planar: int) -> None:
    values = GREY % np.uint16(2**bits)
    colours = np.random.default_rng(bits).integers(0, 256, (3, 2**bits))
    data = stored(values, bits, 3, planar=planar)
    from tests.decode.makers import packed

    found: dict[int, Any] = described(values, bits, 3, planar=planar) | {273: [], 278: [HEIGHT]}
    body = packed(values, bits)
    found |= {279: [len(body)], 320: [int(value) for value in (colours * (1 if old else 257)).ravel()]}
    data = tiff(found, [body])
    assert np.array_equal(picture(shown(data)), colours.T[values])


@pytest.mark.parametrize("across", [1, 2])
@pytest.mark.parametrize("down", [1, 2])
def test_luma_and_chroma_uncompressed(across: int, down: int) -> None:
    y, blue, red = (np.asarray(band) for band in Image.fromarray(SCENE).convert("YCbCr").split())
    blue, red = blue[::down, ::across], red[::down, ::across]
    units = y.reshape(HEIGHT // down, down, WIDTH // across, across).swapaxes(1, 2).reshape(*blue.shape, down * across)
    body = np.dstack([units, blue, red]).tobytes()
    found = {**described(SCENE, 8, 6), 273: [], 278: [HEIGHT], 279: [len(body)], 530: [across, down]}
    got = picture(shown(tiff(found, [body])))
    assert np.abs(got.astype(int) - SCENE).mean() < 6


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_raws_are_not_their_preview(order: Order, big: bool) -> None:
    body, sensor = [SCENE.tobytes()], [bytes(80 * 96 * 2)]
    larger = {**described(np.zeros((80, 96, 3), np.uint8), 8, 2), 273: [], 278: [80], 279: [80 * 96 * 3]}
    raws = {
        "reduced": tiff(PREVIEW | {254: [1]}, body, order, big=big),
        "reduced, as of old": tiff(PREVIEW | {255: [2]}, body, order, big=big),
        "dng": tiff(PREVIEW | {50706: b"\1\4\0\0"}, body, order, big=big),
        "sensor below": tiff(PREVIEW, body, order, big=big, below=[(SENSOR, sensor)]),
        "larger below": tiff(PREVIEW, body, order, big=big, below=[(larger, [bytes(80 * 96 * 3)])]),
        "sensor first": tiff(SENSOR, sensor, order, big=big),
    }
    for name, data in raws.items():
        assert code(data) == "unsupported_format", name


def test_raws_that_say_so_behind_the_header() -> None:
    plain = tiff(PREVIEW, [SCENE.tobytes()])
    canon = bytearray(tiff(PREVIEW, [SCENE.tobytes()]))
    assert np.array_equal(picture(shown(plain)), SCENE)
    moved = canon[:4] + (16).to_bytes(4, "little") + b"CR\2\0\0\0\0\0" + canon[8:]
    assert code(bytes(moved)) == "unsupported_format"


def test_smaller_pictures_below_or_behind_are_no_raw() -> None:
    small = np.zeros((8, 8, 3), np.uint8)
    below = {**described(small, 8, 2, subfile=1), 273: [], 278: [8], 279: [192]}
    assert np.array_equal(picture(shown(tiff(PREVIEW, [SCENE.tobytes()], below=[(below, [small.tobytes()])]))), SCENE)
    first, second = Image.fromarray(SCENE), Image.new("RGB", (500, 400))
    pages = encoded(first, "TIFF", save_all=True, append_images=[second])
    assert np.array_equal(picture(shown(pages)), SCENE)


@pytest.mark.parametrize("longer", [1, 1000, 2**31])
def test_lengths_of_strips_that_are_too_long(longer: int) -> None:
    data = tiff({**PREVIEW, 279: [SCENE.nbytes + longer]}, [SCENE.tobytes()])
    got = outcome(data)
    assert not isinstance(got, str), got
    assert np.array_equal(got.rgb, SCENE)
    assert not got.damaged
    # libtiff reads what is compressed to its stated end.
    squeezed = zlib.compress(SCENE.tobytes())
    assert code(tiff({**PREVIEW, 259: [8], 279: [len(squeezed) + 100 + longer]}, [squeezed])) == "truncated"


@pytest.mark.parametrize("squeeze", [False, True])
def test_cut_files_are_truncated(squeeze: bool) -> None:
    data = stored(SCENE, 8, 2, squeeze=squeeze)
    for share in (0.05, 0.3, 0.6, 0.95):
        assert code(data[: int(len(data) * share)]) == "truncated", share


def test_broken_pixels_are_corrupt() -> None:
    squeezed = zlib.compress(SCENE.tobytes())
    broken = squeezed[:40] + b"\xff" * 40 + squeezed[80:]
    assert code(tiff({**PREVIEW, 259: [8], 279: [len(broken)]}, [broken])) == "corrupt"


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "int32", "uint32", "int8", "complex64"])
def test_numbers_that_are_no_grey(kind: str) -> None:
    import io

    out = io.BytesIO()
    tifffile.imwrite(out, GREY.astype(kind), photometric="minisblack")
    assert code(out.getvalue()) == "unsupported_format"


def test_a_compression_that_is_not_here_is_unsupported() -> None:
    for kind in (34712, 34887, 50001, 50002, 33003):
        assert code(tiff({**PREVIEW, 259: [kind]}, [SCENE.tobytes()])) == "unsupported_format"
    assert code(tiff({**PREVIEW, 259: [4711]}, [SCENE.tobytes()])) == "corrupt"


@pytest.mark.parametrize("big", [False, True])
def test_orientation_that_stands_in_xmp_alone_turns_nothing(big: bool) -> None:
    xmp = b'<rdf:Description tiff:Orientation="6"/>'
    data = tiff({**PREVIEW, 700: xmp}, [SCENE.tobytes()], big=big)
    assert np.array_equal(picture(shown(data)), SCENE)
    import io

    assert np.array_equal(np.asarray(to_rgb(Image.open(io.BytesIO(data)))), SCENE)
    turned = tiff({**PREVIEW, 700: xmp, 274: [3]}, [SCENE.tobytes()], big=big)
    assert np.array_equal(picture(shown(turned)), SCENE[::-1, ::-1])
