"""Every format of the wild, whole and broken, against Pillow and the policy's own words."""

import io
import threading
import warnings
from contextlib import suppress

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from clipflow.decode import decode, to_rgb
from clipflow.failures import ImageFailure
from tests.examples import examples
from tests.pictures import ORIENTATIONS, drawing, encoded, files, photographs, png_rgb_16

ENOUGH = 100_000_000
MEDIA = {
    "jpeg": "image/jpeg",
    "mpo": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "tiff": "image/tiff",
    "avif": "image/avif",
}


def _code(data: bytes, max_pixels: int = ENOUGH) -> str:
    with pytest.raises(ImageFailure) as caught:
        decode(data, max_pixels)
    return caught.value.code


def _levels(ours: npt.NDArray[np.uint8], theirs: Image.Image | npt.NDArray[np.uint8]) -> int:
    other = np.asarray(theirs)
    assert ours.shape == other.shape
    return int(np.abs(ours.astype(int) - other.astype(int)).max())


@pytest.mark.parametrize("name", sorted(files()))
def test_every_format_decodes(name: str) -> None:
    got = decode(files()[name], ENOUGH)
    assert got.media_type == MEDIA[name.split("_")[0]]
    assert got.rgb.dtype == np.uint8
    assert got.rgb.flags.c_contiguous
    assert got.rgb.shape[2] == 3
    # Some formats are lossy and some have few colours; none shows another picture.
    shown = {True: drawing(), False: Image.fromarray(photographs()["china"])}["rgba" in name or "lossless" in name]
    if name != "png_la" and "exif" not in name:
        plain = np.asarray(to_rgb(shown).resize((64, 42)).convert("L"), float)
        made = np.asarray(Image.fromarray(got.rgb).resize((64, 42)).convert("L"), float)
        assert np.abs(plain - made).mean() < 12


@pytest.mark.parametrize("name", sorted(name for name in files() if name.startswith(("jpeg", "mpo"))))
def test_jpegs_are_within_a_level_of_pillow(name: str) -> None:
    with Image.open(io.BytesIO(files()[name])) as image:
        assert _levels(decode(files()[name], ENOUGH).rgb, ImageOps.exif_transpose(image).convert("RGB")) <= 1


@pytest.mark.parametrize("name", sorted(photographs()))
@pytest.mark.parametrize("quality", [30, 95])
def test_real_photographs_are_within_a_level_of_pillow(name: str, quality: int) -> None:
    data = encoded(Image.fromarray(photographs()[name]), "JPEG", quality=quality)
    with Image.open(io.BytesIO(data)) as image:
        assert _levels(decode(data, ENOUGH).rgb, image.convert("RGB")) <= 1


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_orientation_is_applied_once_in_every_format(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(photographs()["coffee"][:60, :90])
    lossless = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "AVIF" else {}
    expected = ImageOps.exif_transpose(_with(stored, exif))
    got = decode(encoded(stored, kind, exif=exif, **lossless), ENOUGH).rgb
    assert got.shape[:2] == (expected.height, expected.width)
    assert np.abs(got.astype(int) - np.asarray(expected)).mean() < (6 if kind == "AVIF" else 0.001)


@pytest.mark.parametrize("name", sorted(files()))
def test_pictures_made_in_bands_are_those_made_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = decode(files()[name], ENOUGH).rgb
    monkeypatch.setattr("clipflow.decode.colours._BAND", 1000)
    assert np.array_equal(decode(files()[name], ENOUGH).rgb, at_once)


def _with(image: Image.Image, exif: Image.Exif) -> Image.Image:
    with Image.open(io.BytesIO(encoded(image, "PNG", exif=exif))) as opened:
        opened.load()
        return opened


def test_alpha_lies_on_white() -> None:
    rgb = decode(files()["png_rgba"], ENOUGH).rgb
    assert tuple(rgb[0, 0]) == (255, 255, 255)
    assert tuple(rgb[100, 30]) == (200, 30, 40)
    half = np.array((20, 90, 220)) * 128 / 255 + 255 * 127 / 255
    assert np.abs(rgb[100, 250] - half).max() <= 1


def test_a_transparent_colour_is_white() -> None:
    photo = Image.new("RGB", (4, 4), (10, 20, 30))
    assert (decode(encoded(photo, "PNG", transparency=(10, 20, 30)), ENOUGH).rgb == 255).all()
    grey = Image.fromarray(np.full((4, 4), 0x1234, np.uint16))
    assert (decode(encoded(grey, "PNG"), ENOUGH).rgb == 0x12).all()


def test_sixteen_bits_become_their_high_byte() -> None:
    values = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    for kind in ("PNG", "TIFF"):
        grey = decode(encoded(Image.fromarray(values), kind), ENOUGH).rgb
        assert (grey == (values >> 8)[..., None]).all()
    rgb = np.stack([values, values[::-1], values.T], -1)
    assert (decode(png_rgb_16(rgb), ENOUGH).rgb == rgb >> 8).all()


def test_the_first_frame_is_taken() -> None:
    still, moving = (decode(files()[name], ENOUGH).rgb for name in ("gif", "gif_animated"))
    assert np.abs(still.astype(int) - moving).mean() < 4


@pytest.mark.parametrize("cut", [3, 20, 200])
@pytest.mark.parametrize("name", sorted(name for name in files() if name.startswith("jpeg")))
def test_a_jpeg_without_its_end_is_truncated(name: str, cut: int) -> None:
    assert _code(files()[name][:-cut]) == "truncated"


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("name", sorted(set(files()) - {"gif_animated", "mpo"}))
def test_half_a_file_is_truncated(name: str, share: float) -> None:
    data = files()[name]
    assert _code(data[: int(len(data) * share)]) == "truncated"


def test_bytes_after_the_end_do_no_harm() -> None:
    for name in ("jpeg_baseline", "png_rgb", "gif", "webp_lossy", "bmp"):
        assert np.array_equal(decode(files()[name] + b"trailer", ENOUGH).rgb, decode(files()[name], ENOUGH).rgb)


def test_damaged_pixels_are_corrupt() -> None:
    data = bytearray(files()["png_rgb"])
    data[len(data) // 2 : len(data) // 2 + 64] = b"\xaa" * 64
    assert _code(bytes(data)) == "corrupt"


@pytest.mark.parametrize("data", [b"no image", b"\0" * 100, b"<html><body>404</body></html>", b"%PDF-1.7\n", b"PK\3\4"])
def test_other_things_are_not_images(data: bytes) -> None:
    assert _code(data) == "not_an_image"


@pytest.mark.parametrize(
    "data",
    [
        b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"\xef\xbb\xbf<svg></svg>",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
        b"\xff\x0a\xfa\x1f",
        b"\0\0\0\x0cJXL \r\n\x87\n",
        b"8BPS\0\1" + b"\0" * 30,
        b"\0\0\1\0\1\0\x10\x10" + b"\0" * 40,
        b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 20,
        b"P6\n2 2\n255\n" + b"\0" * 12,
        b"qoif" + b"\0" * 20,
    ],
)
def test_images_of_other_formats_are_unsupported(data: bytes) -> None:
    assert _code(data) == "unsupported_format"


def test_pillow_writes_what_we_call_unsupported() -> None:
    small = Image.fromarray(photographs()["coffee"][:48, :48])
    for kind in ("ICO", "JPEG2000", "PPM", "QOI", "TGA", "PCX", "SGI", "DDS"):
        assert _code(encoded(small, kind)) in ("unsupported_format", "not_an_image")
    assert _code(encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF")) == "unsupported_format"


def test_empty() -> None:
    assert _code(b"") == "empty"


@pytest.mark.parametrize("name", ["jpeg_baseline", "png_rgb", "webp_lossy", "gif", "bmp", "tiff", "avif"])
def test_the_limit_of_pixels_is_inclusive_and_comes_first(name: str) -> None:
    data = files()[name]
    pixels = decode(data, ENOUGH).rgb.size // 3
    assert decode(data, pixels).rgb.size == pixels * 3
    assert _code(data, pixels - 1) == "too_many_pixels"


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = encoded(Image.new("1", (12_000, 12_000)), "PNG")
    assert len(bomb) < 200_000
    assert _code(bomb) == "too_many_pixels"


def test_pillows_own_limit_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for name in ("jpeg_baseline", "png_rgba", "gif"):
        assert decode(files()[name], ENOUGH).rgb.size
    assert Image.MAX_IMAGE_PIXELS == 100


def test_threads_leave_the_warnings_as_they_were() -> None:
    before, limit = list(warnings.filters), Image.MAX_IMAGE_PIXELS
    names = sorted(files())
    threads = [
        threading.Thread(target=lambda part=names[i::4]: [decode(files()[name], ENOUGH) for name in part])
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (list(warnings.filters), Image.MAX_IMAGE_PIXELS) == (before, limit)


@examples(150)
@given(name=st.sampled_from(sorted(files())), damage=st.data())
def test_broken_files_end_in_a_code_and_nothing_else(name: str, damage: st.DataObject) -> None:
    data = bytearray(files()[name])
    for _ in range(damage.draw(st.integers(0, 6))):
        # Headers hold what breaks decoders most, so half of the damage goes there.
        last = damage.draw(st.sampled_from([min(200, len(data) - 1), len(data) - 1]))
        data[damage.draw(st.integers(0, last))] = damage.draw(st.integers(0, 255))
    if damage.draw(st.booleans()):
        del data[damage.draw(st.integers(0, len(data))) :]
    with suppress(ImageFailure):
        got = decode(bytes(data), 1_000_000)
        assert got.rgb.ndim == 3
        assert 0 < got.rgb.size <= 3_000_000


@examples(80)
@given(
    head=st.sampled_from(
        [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF....WEBP", b"BM", b"II*\0", b"MM\0*"]
    ),
    rest=st.binary(max_size=300),
)
def test_any_bytes_end_in_a_code(head: bytes, rest: bytes) -> None:
    with suppress(ImageFailure):
        decode(head + rest, 1_000_000)
