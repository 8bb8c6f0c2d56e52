"""PNG: every depth and colour type, transparent colours, texts of megabytes, and missing ends."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.decode.makers import chunk, grey, png, scene
from tests.decode.outcome import code, outcome, picture, shown
from tests.pictures import encoded

GREY, SCENE = grey(), scene()
ALPHA = np.tile(np.linspace(0, 255, SCENE.shape[1]).astype(np.uint8), (len(SCENE), 1))
COLOURS = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)


def key(*values: int) -> bytes:
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


def on_white(picture: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    mixed: np.ndarray = picture * share + 255 * (1 - share)
    return mixed


def with_low_bytes(samples: np.ndarray) -> np.ndarray:
    """uint16 whose low bytes differ from their high ones, and from each other."""
    low = np.arange(samples.size).reshape(samples.shape) % 251
    wide: np.ndarray = samples.astype(np.uint16) * 256 + low.astype(np.uint16)
    return wide


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey(bits: int, transparent: bool, interlaced: bool) -> None:
    values = with_low_bytes(GREY) if bits == 16 else GREY >> (8 - bits)
    right = values >> 8 if bits == 16 else np.round(values * (255 / (2**bits - 1))).astype(int)
    for chosen in {int(values[0, 0]), int(values[20, 20]), int(values.max())} if transparent else {-1}:
        got = picture(
            shown(png(values[..., None], bits, 0, key(chosen) if transparent else b"", interlaced=interlaced))
        )
        assert np.array_equal(got, np.dstack([np.where(values == chosen, 255, right)] * 3))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_colours(bits: int, transparent: bool, interlaced: bool) -> None:
    values = with_low_bytes(SCENE) if bits == 16 else SCENE
    chosen = tuple(int(value) for value in values[30, 30])
    got = picture(shown(png(values, bits, 2, key(*chosen) if transparent else b"", interlaced=interlaced)))
    clear = (values == chosen).all(-1) & transparent
    assert clear.any() == transparent
    assert np.array_equal(got, np.where(clear[..., None], 255, SCENE))


def test_a_transparent_colour_of_16_bits_is_told_from_its_neighbours() -> None:
    values = np.full((2, 3, 3), 0x1234, np.uint16)
    values[0, 1] += 1
    values[1, 2, 1] -= 0x100
    got = picture(shown(png(values, 16, 2, key(0x1234, 0x1234, 0x1234))))
    assert (got == 255).all(-1).tolist() == [[True, False, True], [True, True, False]]
    assert (got[0, 1] == 0x12).all()


@pytest.mark.parametrize("bits", [8, 16])
def test_alpha(bits: int) -> None:
    scale = 257 if bits == 16 else 1
    for plain, colour in ((GREY[..., None], 4), (SCENE, 6)):
        values = np.dstack([plain, ALPHA]).astype(np.uint16) * scale
        assert np.abs(picture(shown(png(values, bits, colour))) - on_white(plain, ALPHA)).max() <= 0.5


@pytest.mark.parametrize("alphas", [b"", b"\0", b"\xff\0", b"\x80\xff\0\x20", b"\0\0\0"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes(bits: int, alphas: bytes) -> None:
    values = GREY >> (8 - bits)
    before = chunk(b"PLTE", COLOURS[: 2**bits].tobytes())
    alphas = alphas[: 2**bits]
    opacity = np.array([*alphas, *[255] * (2**bits - len(alphas))])[values]
    got = picture(shown(png(values[..., None], bits, 3, before + (chunk(b"tRNS", alphas) if alphas else b""))))
    assert np.abs(got - on_white(COLOURS[values], opacity)).max() <= 0.5


WORDS = {
    "zTXt": chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"a" * 5_000_000)),
    "iTXt": chunk(b"iTXt", b"workflow\0\1\0\0\0" + zlib.compress(b"a" * 5_000_000)),
    "iCCP": chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"a" * 5_000_000)),
    "tEXt": chunk(b"tEXt", b"comment\0" + b"a" * 5_000_000),
    "plain iTXt": chunk(b"iTXt", b"comment\0\0\0\0\0" + b"a" * 5_000_000),
    "many": b"".join(chunk(b"zTXt", b"a%d\0\0" % i + zlib.compress(b"a" * 1_000_000)) for i in range(80)),
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("name", WORDS)
def test_texts_and_profiles_of_megabytes_do_not_matter(name: str, behind: bool) -> None:
    words = (b"", WORDS[name]) if behind else (WORDS[name], b"")
    tracemalloc.start()
    got = outcome(png(SCENE, 8, 2, *words))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert not isinstance(got, str), got
    assert np.array_equal(got.rgb, SCENE)
    assert not got.damaged
    # Pillow's own bound is 64 MB, and it holds some of it twice.
    assert peak < 200_000_000


def test_what_exif_says_outlives_large_texts() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    for place in (chunk(b"eXIf", exif.tobytes()[6:]), chunk(b"zTXt", b"Raw profile type exif\0\0" + _magick(exif))):
        got = picture(shown(png(SCENE, 8, 2, WORDS["zTXt"] + place)))
        assert np.array_equal(got, SCENE[::-1, ::-1])


def _magick(exif: Image.Exif) -> bytes:
    body = exif.tobytes()
    return zlib.compress(b"\nexif\n" + b"%8d\n" % len(body) + body.hex().encode() + b"\n")


def test_orientation_that_stands_in_xmp_alone_turns_nothing() -> None:
    xmp = chunk(b"iTXt", b'XML:com.adobe.xmp\0\0\0\0\0<rdf:Description tiff:Orientation="6"/>')
    assert np.array_equal(picture(shown(png(SCENE, 8, 2, xmp))), SCENE)
    exif = Image.Exif()
    exif[0x0112] = 3
    both = xmp + chunk(b"eXIf", exif.tobytes()[6:])
    assert np.array_equal(picture(shown(png(SCENE, 8, 2, both))), SCENE[::-1, ::-1])


def test_a_picture_without_its_last_chunk_is_damaged() -> None:
    for data in (png(SCENE, 8, 2, end=False), png(SCENE, 8, 2)[:-4], png(SCENE, 8, 2)[:-11], png(SCENE, 8, 2)[:-14]):
        got = outcome(data)
        assert not isinstance(got, str), got
        assert np.array_equal(got.rgb, SCENE)
        assert got.damaged
    got = outcome(png(SCENE, 8, 2) + b"behind the end")
    assert not isinstance(got, str)
    assert not got.damaged


def test_cut_pixels_are_truncated() -> None:
    data = png(SCENE, 8, 2)
    for length in (20, 34, 40, len(data) // 2, len(data) - 30):
        assert code(data[:length]) == "truncated", length


def test_broken_chunks_are_corrupt() -> None:
    data = bytearray(png(SCENE, 8, 2, chunk(b"gAMA", bytes(4))))
    data[data.index(b"gAMA") + 5] ^= 1
    assert code(bytes(data)) == "corrupt"
    assert code(png(SCENE, 8, 2)[:33] + b"\xff" * 60 + png(SCENE, 8, 2)[33:]) in ("corrupt", "truncated")


def test_apples_own_kind_is_unsupported() -> None:
    plain = png(SCENE, 8, 2)
    at = plain.index(b"IDAT")
    body = zlib.compress(b"\0" + bytes(500))[2:-4]  # without zlib's head and checksum
    own = plain[:8] + chunk(b"CgBI", b"\x50\0\x20\2") + plain[8 : at - 4] + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert code(own) == "unsupported_format"


def test_the_first_frame_of_an_animation() -> None:
    moving = encoded(Image.fromarray(SCENE), "PNG", save_all=True, append_images=[Image.new("RGB", (48, 40))])
    assert np.array_equal(picture(shown(moving)), SCENE)
