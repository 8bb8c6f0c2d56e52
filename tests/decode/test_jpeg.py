"""JPEG: what Pillow shows of files that are not as they should be, and what may be missing of them."""

import io
import struct

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from clipflow.decode import decode
from clipflow.encoders.geometry import read_geometry
from clipflow.encoders.preprocess import Resize
from tests.decode.makers import scene
from tests.decode.outcome import ENOUGH, code, outcome, picture, shown
from tests.examples import examples
from tests.pictures import encoded

SCENE = scene(210, 150)
KINDS = {
    "baseline": encoded(Image.fromarray(SCENE), "JPEG", quality=90),
    "progressive": encoded(Image.fromarray(SCENE), "JPEG", quality=90, progressive=True),
    "restarts": encoded(Image.fromarray(SCENE), "JPEG", quality=90, restart_marker_rows=2),
    "grey": encoded(Image.fromarray(SCENE).convert("L"), "JPEG", quality=90),
    "inks": encoded(Image.fromarray(SCENE).convert("CMYK"), "JPEG", quality=90),
}
END = b"\xff\xd9"
BYTES = [b"\0", b"\xff", b"A", b"\n"]


def pillows(data: bytes) -> npt.NDArray[np.uint8] | None:
    """What Pillow makes of it, if anything."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError):
        return None


def agrees(data: bytes, damaged: bool) -> None:
    got, theirs = outcome(data), pillows(data)
    assert not isinstance(got, str), got
    assert theirs is not None
    assert np.abs(got.rgb.astype(int) - theirs).max() <= 1
    assert got.damaged is damaged


@pytest.mark.parametrize("kind", KINDS)
def test_sound_files(kind: str) -> None:
    agrees(KINDS[kind], damaged=False)


@pytest.mark.parametrize("length", [1, 4, 5, 16, 17, 228, 70_000])
@pytest.mark.parametrize("byte", BYTES)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_before_the_end_mark_does_no_harm(kind: str, byte: bytes, length: int) -> None:
    agrees(KINDS[kind][:-2] + byte * length + END, damaged=False)


@pytest.mark.parametrize("byte", BYTES)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_elsewhere(kind: str, byte: bytes) -> None:
    data = KINDS[kind]
    at = data.index(b"\xff\xdb")
    for length in (1, 30, 3000):
        agrees(data[:at] + byte * length + data[at:], damaged=byte != b"\xff")
        agrees(data + byte * length, damaged=False)
        if byte != b"\xff":
            assert code(data[:2] + byte * length + data[2:]) == "not_an_image"


def _icc(number: int, count: int, body: bytes = b"x" * 100) -> bytes:
    return b"\xff\xe2" + struct.pack(">H", len(body) + 16) + b"ICC_PROFILE\0" + bytes([number, count]) + body


@pytest.mark.parametrize(
    "profile",
    [_icc(1, 1), _icc(0, 0), _icc(2, 1), _icc(1, 2), _icc(5, 3), _icc(1, 1) * 2, _icc(1, 1, b""), _icc(1, 255)],
)
@pytest.mark.parametrize("kind", KINDS)
def test_profiles_that_lie_do_no_harm(kind: str, profile: bytes) -> None:
    agrees(KINDS[kind][:2] + profile + KINDS[kind][2:], damaged=False)


def test_a_profile_that_lies_is_drafted_too() -> None:
    large = encoded(Image.fromarray(scene(2000, 1600)), "JPEG")
    got = decode(large[:2] + _icc(2, 1) + large[2:], ENOUGH, Resize(read_geometry({}, "clip")).needed)
    assert got.drafted
    assert not got.damaged


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_picture_without_its_end_mark_is_damaged(kind: str) -> None:
    whole = picture(shown(KINDS[kind]))
    data = KINDS[kind][:-2]
    for tail in (b"", b"\xff", b"\0", b"\0\0\0", b"\0" * 4, b"\0" * 5000, b"\xff" * 30, b"A" * 3, b"\r\n"):
        got = outcome(data + tail)
        assert not isinstance(got, str), (got, tail)
        assert np.abs(got.rgb.astype(int) - whole).max() <= 1
        assert got.damaged


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_picture_without_end_mark_is_truncated(kind: str) -> None:
    data = KINDS[kind]
    start = data.index(b"\xff\xda") + 14
    for share in (0.0, 0.1, 0.5, 0.9, 0.97):
        part = data[: start + int((len(data) - start) * share)]
        assert code(part) == "truncated", share
        assert pillows(part) is None


def test_a_progressive_picture_that_lacks_scans_is_truncated_or_with_an_end_mark_damaged() -> None:
    data = KINDS["progressive"]
    scans = [at for at in range(len(data)) if data.startswith(b"\xff\xda", at)]
    assert len(scans) > 5
    for at in scans[1:]:
        # Tables of codes stand before their scan.
        end = data.rindex(b"\xff\xc4", 0, at) if data[at - 2 : at] != b"\xff\xd8" else at
        assert code(data[:end]) == "truncated"
        agrees(data[:end] + END, damaged=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_picture_with_an_end_mark_is_shown_as_browsers_do(kind: str) -> None:
    data = KINDS[kind]
    start = data.index(b"\xff\xda") + 14
    for share in (0.3, 0.6, 0.9):
        agrees(data[: start + int((len(data) - start) * share)] + END, damaged=True)


def test_lost_and_wrong_restart_marks() -> None:
    data = KINDS["restarts"]
    at = data.index(b"\xff\xd2")
    for broken in (
        data[:at] + data[at + 2 :],
        data[: at + 1] + b"\xd6" + data[at + 2 :],
        data[:at] + b"\0" * 9 + data[at:],
    ):
        agrees(broken, damaged=True)


@examples(300)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
    more=st.booleans(),
)
def test_what_pillow_shows_of_flipped_bits_is_shown(kind: str, place: float, bit: int, more: bool) -> None:
    data = bytearray(KINDS[kind])
    start = data.index(b"\xff\xda") + 14 if more else 2
    data[start + int((len(data) - 2 - start) * place)] ^= 1 << bit
    got, theirs = outcome(bytes(data)), pillows(bytes(data))
    if theirs is None:
        # Beyond Pillow goes only what lacks nothing but its end mark.
        assert isinstance(got, str) or got.damaged
    else:
        assert not isinstance(got, str), got
        assert np.abs(got.rgb.astype(int) - theirs).mean() < 1


def test_two_pictures_in_one_file() -> None:
    other = Image.new("RGB", (40, 30))
    data = encoded(Image.fromarray(SCENE), "MPO", save_all=True, append_images=[other], quality=90)
    got = outcome(data)
    assert not isinstance(got, str)
    assert got.rgb.shape == SCENE.shape
    assert not got.damaged
    cut = outcome(data[:-300])
    assert not isinstance(cut, str), cut
    assert np.array_equal(cut.rgb, got.rgb)
