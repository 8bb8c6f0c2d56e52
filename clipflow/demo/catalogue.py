"""A small catalogue of uploads, days and troubles included, for trying the whole flow on a laptop.

The pictures are drawn, not photographed, but the folder behaves like a real one: several formats, one day's uploads
after another's, and the odd files that every catalogue has collected. The same seed gives the same bytes.
"""

import csv
import datetime as dt
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from clipflow.demo.drawings import COLOURS, SHAPES, caption, draw

_UPLOADERS: Final = ("ada", "bo", "chidi", "dara", "emi")
_FORMATS: Final = (("jpg", "JPEG"), ("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP"))
_ODDITIES: Final = 8
_ORIENTATION_TAG: Final = 0x0112


@dataclass(frozen=True)
class Catalogue:
    """What was written: the folder, its days in order, how many files, and which of them are odd."""

    folder: Path
    days: tuple[dt.date, ...]
    files: int
    manifest: Path
    truncated: Path
    not_an_image: Path
    empty: Path
    tiny: Path
    copy: Path
    copy_of: Path
    blurred: Path
    rotated: Path
    transparent: Path

    @property
    def oddities(self) -> dict[str, Path]:
        """The planted files by what is odd about them."""
        names = ("truncated", "not_an_image", "empty", "tiny", "copy", "blurred", "rotated", "transparent")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class _Upload:
    name: str
    body: bytes
    caption: str


def make_catalogue(
    folder: Path, *, days: int = 4, per_day: int = 60, seed: int = 7, end: dt.date | None = None
) -> Catalogue:
    """Write `days` times `per_day` files into `folder`, the last day being `end` (default: yesterday, UTC).

    The oddities are among them. A file's modification time lies inside its day, so intervals find it. The manifest
    (uri, caption, uploader) is written beside the folder, where a listing of the folder does not meet it.
    """
    if days < 2 or per_day < _ODDITIES:
        raise ValueError(f"a catalogue needs at least 2 days and {_ODDITIES} files a day, not {days} and {per_day}")
    last = end or dt.datetime.now(dt.UTC).date() - dt.timedelta(days=1)
    dates = tuple(last - dt.timedelta(days=back) for back in reversed(range(days)))
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty; a catalogue wants a folder of its own")

    rng = np.random.default_rng(seed)
    uploads = [_usual(rng, number) for number in range(days * per_day)]
    odd = _plant(rng, uploads, per_day)
    rows = []
    for number, upload in enumerate(uploads):
        path = folder / upload.name
        path.write_bytes(upload.body)
        moment = _moment(dates[number // per_day], number % per_day, per_day)
        os.utime(path, (moment, moment))
        rows.append((f"file://{path}", upload.caption, _UPLOADERS[int(rng.integers(len(_UPLOADERS)))]))

    manifest = folder.with_name(f"{folder.name}-captions.csv")
    with manifest.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(("uri", "caption", "uploader"))
        writer.writerows(rows)
    return Catalogue(
        folder=folder,
        days=dates,
        files=len(uploads),
        manifest=manifest,
        **{kind: folder / uploads[at].name for kind, at in odd.items()},
    )


def _usual(rng: np.random.Generator, number: int) -> _Upload:
    colour, shape = str(rng.choice(list(COLOURS))), str(rng.choice(SHAPES))
    suffix, kind = _FORMATS[int(rng.integers(len(_FORMATS)))]
    return _Upload(
        f"upload-{number:04d}.{suffix}", _encode(draw(rng, colour, shape), kind), caption(rng, colour, shape)
    )


def _plant(rng: np.random.Generator, uploads: list[_Upload], per_day: int) -> dict[str, int]:
    """Replace some uploads by the oddities, the copy on the second day and its original on the first."""
    places = [int(place) for place in rng.permutation(per_day)[: _ODDITIES - 1]]
    truncated, text, empty, tiny, blurred, rotated, transparent = places
    # Spread over two days, so that no single interval has all the trouble.
    text, tiny, rotated = text + per_day, tiny + per_day, rotated + per_day
    original = next(at for at in range(per_day) if at not in places)
    copy = next(at for at in range(2 * per_day - 1, per_day - 1, -1) if at - per_day not in places)

    whole = _encode(draw(rng, "green", "heart"), "JPEG")
    _put(uploads, truncated, "jpg", whole[: len(whole) // 2], "a green heart")
    _put(uploads, text, "jpg", b"This is a note that somebody saved under the name of a picture.\n" * 8, "a note")
    _put(uploads, empty, "png", b"", "")
    small = draw(rng, "pink", "circle").resize((24, 24), Image.Resampling.LANCZOS)
    _put(uploads, tiny, "png", _encode(small, "PNG"), "a pink circle")
    smeared = draw(rng, "blue", "square").resize((160, 160)).filter(ImageFilter.GaussianBlur(12))
    _put(uploads, blurred, "jpg", _encode(smeared, "JPEG"), "a blue square")
    _put(uploads, rotated, "jpg", _encode(_lying(), "JPEG", orientation=6), "a red triangle")
    _put(uploads, transparent, "png", _encode(_cut_out(), "PNG"), "an orange star")
    suffix = uploads[original].name.rsplit(".", 1)[1]
    _put(uploads, copy, suffix, uploads[original].body, uploads[original].caption)
    return {
        "truncated": truncated,
        "not_an_image": text,
        "empty": empty,
        "tiny": tiny,
        "copy": copy,
        "copy_of": original,
        "blurred": blurred,
        "rotated": rotated,
        "transparent": transparent,
    }


def _put(uploads: list[_Upload], at: int, suffix: str, body: bytes, text: str) -> None:
    uploads[at] = _Upload(f"upload-{at:04d}.{suffix}", body, text)


def _moment(day: dt.date, position: int, per_day: int) -> float:
    """The upload's time, between eight in the morning and eight in the evening UTC, in the order of the names."""
    morning = dt.datetime.combine(day, dt.time(8), tzinfo=dt.UTC)
    return (morning + dt.timedelta(hours=12) * position / per_day).replace(microsecond=0).timestamp()


def _encode(picture: Image.Image, kind: str, *, orientation: int | None = None) -> bytes:
    buffer = io.BytesIO()
    if orientation is None:
        picture.save(buffer, kind, quality=90)
    else:
        exif = Image.Exif()
        exif[_ORIENTATION_TAG] = orientation
        picture.save(buffer, kind, quality=90, exif=exif)
    return buffer.getvalue()


def _lying() -> Image.Image:
    """A red triangle as a phone held upright stores it: a quarter turn short, with a tag that says so."""
    upright = Image.new("RGB", (120, 180), (226, 226, 222))
    ImageDraw.Draw(upright).polygon([(60, 40), (110, 140), (10, 140)], fill=COLOURS["red"])
    return upright.transpose(Image.Transpose.ROTATE_90)


def _cut_out() -> Image.Image:
    """An orange star with nothing behind it."""
    turns = np.arange(10) * np.pi / 5 - np.pi / 2
    reach = np.where(np.arange(10) % 2 == 0, 230.0, 96.0)
    points = [
        (float(x), float(y)) for x, y in zip(256 + reach * np.cos(turns), 256 + reach * np.sin(turns), strict=True)
    ]
    mask = Image.new("L", (512, 512), 0)
    ImageDraw.Draw(mask).polygon(points, fill=255)
    star = Image.new("RGBA", (128, 128), (*COLOURS["orange"], 0))
    star.putalpha(mask.resize((128, 128), Image.Resampling.BOX))
    return star
