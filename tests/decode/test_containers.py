"""Every container that the installed Pillow opens, in every mode that it writes: shown rightly, or which code."""

import io
import warnings
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.decode.makers import scene
from tests.decode.outcome import code, outcome

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B", "I", "F", "LAB", "HSV")
# Mean difference in levels that compression may make.
DECODED = {"AVIF": 3.0, "BMP": 0.0, "GIF": 20.0, "JPEG": 4.0, "MPO": 4.0, "PNG": 0.0, "TIFF": 0.5, "WEBP": 0.0}
HOW: dict[str, dict[str, Any]] = {
    "AVIF": {"quality": 100, "speed": 10},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 95},
    "MPO": {"quality": 95},
}
UNSUPPORTED = {
    *("BLP", "CUR", "DCX", "DDS", "DIB", "EPS", "FITS", "FLI", "FTEX", "ICNS", "ICO", "IM", "JPEG2000", "MSP"),
    *("PCX", "PIXAR", "PPM", "PSD", "QOI", "SGI", "SUN", "TGA", "WMF", "XBM", "XPM", "XVTHUMB"),
}
# No first bytes tell them from anything else, or they hold no picture.
UNKNOWN = {"BUFR", "GBR", "GRIB", "HDF5", "IMT", "IPTC", "MCIDAS", "MPEG", "PALM", "PCD", "PDF", "SPIDER"}
# Modes whose range of values nobody states.
NO_RANGE = {("TIFF", "I"), ("TIFF", "F"), ("TIFF", "LAB")}
# How files begin that Pillow does not write.
HEADS = {
    "CUR": b"\0\0\2\0\1\0\x10\x10" + bytes(40),
    "DCX": b"\xb1\x68\xde\x3a" + bytes(40),
    "FITS": b"SIMPLE  =                    T",
    "FLI": bytes(4) + b"\x12\xaf" + bytes(120),
    "FTEX": b"FTEX" + bytes(40),
    "PIXAR": b"\x80\xe8\0\0" + bytes(200),
    "PSD": b"8BPS\0\1" + bytes(40),
    "SUN": b"\x59\xa6\x6a\x95" + bytes(40),
    "WMF": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "XPM": b"/* XPM */\nstatic char *a[] = {",
    "XVTHUMB": b"P7 332\n#\n",
}


def picture(mode: str) -> Image.Image | None:
    plain = Image.fromarray(scene(64, 64))
    if mode == "PA":
        plain = plain.quantize(16)
    alpha = Image.fromarray(np.tile(np.arange(0, 256, 4).astype(np.uint8), (64, 1)))
    try:
        image = plain if mode == plain.mode else plain.convert(mode)
    except ValueError:
        return None
    if mode in ("LA", "PA", "RGBA"):
        image.putalpha(alpha)
    return image


def on_white(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.dstack([np.asarray(image).astype(np.uint16) >> 8] * 3)
    layer = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB").convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"))


def written(image: Image.Image, kind: str) -> bytes | None:
    out = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Some of these writers go.
            image.save(out, kind, **HOW.get(kind, {}))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return out.getvalue()


def test_no_container_is_left_out() -> None:
    Image.init()
    # Some library may have announced the plugin for HEIC.
    assert {*Image.OPEN, *Image.SAVE} - {"HEIF"} == DECODED.keys() | UNSUPPORTED | UNKNOWN


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", DECODED)
def test_what_is_written_is_shown(kind: str, mode: str) -> None:
    image = picture(mode)
    data = None if image is None else written(image, kind)
    if image is None or data is None:
        return
    got = outcome(data)
    if (kind, mode) in NO_RANGE:
        assert got == "unsupported_format"
        return
    assert not isinstance(got, str), got
    with Image.open(io.BytesIO(data)) as opened:
        # What the format cannot hold is lost when it is written.
        right = on_white(image if opened.has_transparency_data else opened.convert(opened.mode))
    assert np.abs(got.rgb.astype(float) - right).mean() <= DECODED[kind]
    assert not got.damaged


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", sorted(UNSUPPORTED | UNKNOWN))
def test_others_are_told_by_how_they_begin(kind: str, mode: str) -> None:
    Image.init()
    image = picture(mode)
    data = HEADS.get(kind) if kind not in Image.SAVE else None if image is None else written(image, kind)
    if data is not None:
        assert code(data) == ("unsupported_format" if kind in UNSUPPORTED else "not_an_image")
