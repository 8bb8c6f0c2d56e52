"""Real files in the formats of the wild, made from photographs and drawings that come with the test libraries."""

import io
import warnings
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from skimage import data as skimage_data
from sklearn.datasets import load_sample_image

ORIENTATIONS = range(1, 9)


@cache
def photographs() -> dict[str, npt.NDArray[np.uint8]]:
    """Name to uint8 [H, W, 3]."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "china": np.ascontiguousarray(load_sample_image("china.jpg")),
            "flower": np.ascontiguousarray(load_sample_image("flower.jpg")),
            "astronaut": np.ascontiguousarray(skimage_data.astronaut()),
            "coffee": np.ascontiguousarray(skimage_data.coffee()),
        }


@cache
def drawing() -> Image.Image:
    """RGBA, 320 x 200, with opaque, half transparent and wholly transparent parts."""
    picture = Image.new("RGBA", (320, 200), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((20, 20, 140, 180), fill=(200, 30, 40, 255))
    pen.ellipse((120, 40, 300, 160), fill=(20, 90, 220, 128), outline=(250, 240, 20, 255), width=6)
    return picture


def encoded(image: Image.Image, kind: str, **settings: Any) -> bytes:
    """The file that Pillow writes."""
    out = io.BytesIO()
    image.save(out, kind, **settings)
    return out.getvalue()


@cache
def files() -> dict[str, bytes]:
    """Name to the bytes of one file, about 320 x 213 each."""
    photo = Image.fromarray(photographs()["china"]).resize((320, 213), Image.Resampling.LANCZOS)
    grey = photo.convert("L")
    ramp = np.asarray(grey, np.uint16) * 257
    other = photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    made = {
        "jpeg_baseline": encoded(photo, "JPEG", quality=90),
        "jpeg_progressive": encoded(photo, "JPEG", quality=85, progressive=True),
        "jpeg_444": encoded(photo, "JPEG", quality=95, subsampling=0),
        "jpeg_cmyk": encoded(photo.convert("CMYK"), "JPEG", quality=90),
        "jpeg_grey": encoded(grey, "JPEG", quality=90),
        "mpo": encoded(photo, "MPO", save_all=True, append_images=[other]),
        "png_rgb": encoded(photo, "PNG"),
        "png_palette": encoded(photo.quantize(64), "PNG"),
        "png_palette_transparent": encoded(photo.quantize(64), "PNG", transparency=3),
        "png_one_bit": encoded(grey.convert("1"), "PNG"),
        "png_grey": encoded(grey, "PNG"),
        "png_grey_16": encoded(Image.fromarray(ramp), "PNG"),
        "png_rgb_16": png_rgb_16(np.asarray(photo, np.uint16) * 257),
        "png_rgba": encoded(drawing(), "PNG"),
        "png_la": encoded(drawing().convert("LA"), "PNG"),
        "png_rgb_trns": encoded(photo, "PNG", transparency=photo.getpixel((10, 10))),
        "webp_lossy": encoded(photo, "WEBP", quality=80),
        "webp_lossless": encoded(drawing(), "WEBP", lossless=True),
        "webp_animated": encoded(photo, "WEBP", save_all=True, append_images=[other], duration=50),
        "gif": encoded(photo.quantize(32), "GIF"),
        "gif_animated": encoded(photo.quantize(32), "GIF", save_all=True, append_images=[other.quantize(32)]),
        "bmp": encoded(photo, "BMP"),
        "tiff": encoded(photo, "TIFF"),
        "tiff_lzw": encoded(photo, "TIFF", compression="tiff_lzw"),
        "tiff_grey_16": encoded(Image.fromarray(ramp), "TIFF"),
        "avif": encoded(photo, "AVIF", quality=60, speed=10),
    }
    for orientation in ORIENTATIONS:
        exif = Image.Exif()
        exif[0x0112] = orientation
        made[f"jpeg_exif_{orientation}"] = encoded(photo, "JPEG", quality=90, exif=exif)
    return made


def png_rgb_16(values: npt.NDArray[np.uint16]) -> bytes:
    """A PNG of uint16 [H, W, 3], which Pillow reads but does not write."""
    import struct
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width, _ = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
