"""The demo catalogue: same bytes for the same seed, uploads inside their days, and every oddity as described."""

import csv
import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps, UnidentifiedImageError

from clipflow.demo.catalogue import Catalogue, make_catalogue

END = dt.date(2026, 3, 31)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    return make_catalogue(tmp_path_factory.mktemp("demo") / "uploads", days=3, per_day=20, end=END)


def _day(path: Path) -> dt.date:
    return dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC).date()


def _sharpness(path: Path) -> float:
    with Image.open(path) as picture:
        edges = picture.convert("L").filter(ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), 1, 128))
    return float(np.asarray(edges, dtype=np.float64)[1:-1, 1:-1].var())


def test_same_seed_same_bytes_and_times(catalogue: Catalogue, tmp_path: Path) -> None:
    again = make_catalogue(tmp_path / "again", days=3, per_day=20, end=END)
    first = {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in catalogue.folder.iterdir()}
    assert first == {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in again.folder.iterdir()}
    assert {kind: p.name for kind, p in catalogue.oddities.items()} == {k: p.name for k, p in again.oddities.items()}


def test_another_seed_draws_other_pictures(catalogue: Catalogue, tmp_path: Path) -> None:
    other = make_catalogue(tmp_path / "other", days=3, per_day=20, seed=8, end=END)
    shared = {p.read_bytes() for p in catalogue.folder.iterdir()} & {p.read_bytes() for p in other.folder.iterdir()}
    assert len(shared) <= 4  # the note, the empty file and the two pictures that no chance enters into


def test_every_day_has_its_uploads(catalogue: Catalogue) -> None:
    assert catalogue.days == (dt.date(2026, 3, 29), dt.date(2026, 3, 30), END)
    files = sorted(catalogue.folder.iterdir())
    assert len(files) == catalogue.files == 60
    assert [_day(p) for p in files] == [day for day in catalogue.days for _ in range(20)]
    assert {p.suffix for p in files} == {".jpg", ".png", ".webp"}


def test_all_but_the_broken_ones_open(catalogue: Catalogue) -> None:
    broken = {catalogue.truncated, catalogue.not_an_image, catalogue.empty}
    formats = {".jpg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
    for path in set(catalogue.folder.iterdir()) - broken:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == formats[path.suffix]


def test_the_broken_ones(catalogue: Catalogue) -> None:
    assert catalogue.empty.read_bytes() == b""
    assert catalogue.not_an_image.suffix == ".jpg"
    with pytest.raises(UnidentifiedImageError):
        Image.open(catalogue.not_an_image)
    with Image.open(catalogue.truncated) as picture, pytest.raises(OSError, match="truncated"):
        picture.load()


def test_the_odd_ones(catalogue: Catalogue) -> None:
    with Image.open(catalogue.tiny) as tiny, Image.open(catalogue.transparent) as transparent:
        assert tiny.size == (24, 24)
        assert transparent.mode == "RGBA"
        assert transparent.getchannel("A").getextrema() == (0, 255)
    usual = set(catalogue.folder.iterdir()) - set(catalogue.oddities.values())
    assert _sharpness(catalogue.blurred) < min(_sharpness(path) for path in usual)
    with Image.open(catalogue.rotated) as lying:
        upright = ImageOps.exif_transpose(lying)
        assert lying.width > lying.height
        assert upright.width < upright.height
        # Upright, the triangle is broad at its foot.
        reds = (np.asarray(upright, dtype=int) @ np.array([1, -1, 0]) > 80).sum(axis=1)
        assert reds[130] > reds[60] > 0


def test_the_copy_came_a_day_later(catalogue: Catalogue) -> None:
    assert catalogue.copy.read_bytes() == catalogue.copy_of.read_bytes()
    assert catalogue.copy.name != catalogue.copy_of.name
    assert (_day(catalogue.copy_of), _day(catalogue.copy)) == catalogue.days[:2]
    bodies = [path.read_bytes() for path in catalogue.folder.iterdir()]
    assert len(set(bodies)) == len(bodies) - 1


def test_the_manifest_lies_outside_and_names_every_file(catalogue: Catalogue) -> None:
    assert catalogue.manifest.parent == catalogue.folder.parent
    with catalogue.manifest.open(encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["uri"] for row in rows} == {f"file://{path}" for path in catalogue.folder.iterdir()}
    assert list(rows[0]) == ["uri", "caption", "uploader"]


def test_smallest_catalogue_and_refusals(tmp_path: Path) -> None:
    smallest = make_catalogue(tmp_path / "small", days=2, per_day=8, end=END)
    assert len(set(smallest.oddities.values()) | {smallest.copy_of}) == 9
    with pytest.raises(FileExistsError, match="not empty"):
        make_catalogue(smallest.folder)
    with pytest.raises(ValueError, match="at least 2 days"):
        make_catalogue(tmp_path / "none", days=1)


def test_the_last_day_is_yesterday_unless_told(tmp_path: Path) -> None:
    made = make_catalogue(tmp_path / "recent", days=2, per_day=8)
    assert all(path.stat().st_mtime < dt.datetime.now(dt.UTC).timestamp() for path in made.folder.iterdir())
    assert dt.datetime.now(dt.UTC).date() - made.days[-1] <= dt.timedelta(days=2)
