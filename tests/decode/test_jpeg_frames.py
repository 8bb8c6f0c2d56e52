"""JPEGs of kinds that nobody here decodes, told from broken ones."""

import base64
import struct

import pytest

from tests.decode.outcome import code, outcome
from tests.decode.test_jpeg import KINDS


def _with_frame(marker: int, bits: int, components: int, height: int = 150) -> bytes:
    parts = b"".join(bytes([i + 1, 0x11, 0]) for i in range(components))
    frame = struct.pack(">BHHB", bits, height, 210, components) + parts
    data = KINDS["baseline"]
    at = data.index(b"\xff\xc0")
    end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data[:at] + bytes([0xFF, marker]) + struct.pack(">H", len(frame) + 2) + frame + data[end:]


@pytest.mark.parametrize(
    ("marker", "bits", "components", "height"),
    [
        (0xC1, 12, 3, 150),
        (0xC1, 12, 1, 150),
        (0xC2, 12, 3, 150),
        (0xC3, 16, 1, 150),
        (0xC3, 12, 3, 150),
        (0xC0, 8, 2, 150),
        (0xC0, 8, 5, 150),
        (0xC0, 8, 3, 0),
        (0xC5, 8, 3, 150),
        (0xC6, 8, 3, 150),
        (0xF7, 8, 3, 150),
    ],
)
def test_sound_files_that_nobody_here_decodes_are_unsupported(
    marker: int, bits: int, components: int, height: int
) -> None:
    assert code(_with_frame(marker, bits, components, height)) == "unsupported_format"


def test_headers_that_no_jpeg_has_are_corrupt() -> None:
    assert code(_with_frame(0xC0, 200, 3)) == "corrupt"
    data = KINDS["baseline"]
    at = data.index(b"\xff\xc0")
    assert code(data[: at + 9] + b"\x07" + data[at + 10 :]) == "corrupt"


# Grey, 40 x 32, by `cjpeg -arithmetic`.
ARITHMETIC = base64.b64decode("""
/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABQODxIPDRQSEBIXFRQYHjIhHhwcHj0sLiQySUBMS0dARkVQWnNiUFVtVkVGZIhlbXd7
gYKBTmCNl4x9lnN+gXz/yQALCAAgACgBAREA/8wABgAQEAX/2gAIAQEAAD8A/oB6lK+QSUB68st/imKNbYdFpWcFoUa8EIQAxSLt
48b/ADhZy+ikr7vVVAp3aF8v7+ZR2pjnKJz/2Q==
""")


def test_arithmetic_codes_are_decoded_and_nobody_can_tell_where_they_end() -> None:
    got = outcome(ARITHMETIC)
    assert not isinstance(got, str), got
    assert (got.height, got.width, got.damaged) == (32, 40, False)
    for length in (len(ARITHMETIC) - 2, len(ARITHMETIC) - 20, len(ARITHMETIC) // 2):
        assert code(ARITHMETIC[:length]) == "truncated"
