"""`decode: draft`: how small a picture may be decoded, what stays the original's, and how near its vector is."""

from pathlib import Path
from typing import Any

import lance
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import clipflow
from clipflow.cli import main
from clipflow.decode import decode
from clipflow.decode.draft import MARGIN, SHARES, share
from clipflow.encoders import Encoder, describe, load_encoder, load_preprocess
from clipflow.encoders.base import Drafting
from clipflow.encoders.geometry import read_geometry
from clipflow.encoders.preprocess import Resize
from clipflow.errors import EncoderError, EncoderMismatch
from clipflow.failures import ImageFailure
from clipflow.query.search import search
from clipflow.spec import JobSpec
from tests.catalogues import job, rows
from tests.pictures import ORIENTATIONS, encoded, files, photographs

ENOUGH = 100_000_000
LARGE = (1600, 1200)
CLIP = Resize(read_geometry({}, "clip"))
BLUR = {"rules": [{"name": "blurred", "score": "blur", "review_below": 300.0}]}


def large(name: str, size: tuple[int, int] = LARGE, **more: Any) -> bytes:
    return encoded(Image.fromarray(photographs()[name]).resize(size, Image.Resampling.BICUBIC), "JPEG", **more)


def levels(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> float:
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


sides = st.integers(1, 9000)


@given(height=sides, width=sides, down=st.integers(1, 500), across=st.integers(1, 500))
def test_a_draft_is_at_least_twice_what_is_needed_and_no_larger_than_it_must_be(
    height: int, width: int, down: int, across: int
) -> None:
    taken = share(height, width, (down, across))
    assert taken in (1, *SHARES)
    if taken > 1:
        assert -(-height // taken) >= MARGIN * down
        assert -(-width // taken) >= MARGIN * across
    for further in (one for one in SHARES if one > taken):
        assert height < max(MARGIN * down, 8) * further or width < max(MARGIN * across, 8) * further


@pytest.mark.parametrize("size", [(896, 896), (1600, 1200), (1601, 1203), (3600, 1792), (1000, 4001)])
def test_a_draft_has_the_size_of_its_share(size: tuple[int, int]) -> None:
    got = decode(large("china", size), ENOUGH, CLIP.needed)
    taken = share(size[1], size[0], CLIP.needed(size[1], size[0]))
    assert taken > 1
    assert got.drafted
    assert got.rgb.shape == (-(-size[1] // taken), -(-size[0] // taken), 3)
    assert (got.height, got.width) == (size[1], size[0])


@pytest.mark.parametrize("size", [(895, 1200), (640, 480), (300, 5000), (1, 1), (7, 9)])
def test_below_four_times_what_is_needed_nothing_changes(size: tuple[int, int]) -> None:
    data = large("coffee", size)
    got, whole = decode(data, ENOUGH, CLIP.needed), decode(data, ENOUGH)
    assert not got.drafted
    assert np.array_equal(got.rgb, whole.rgb)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_draft_stands_as_the_whole_picture_does(orientation: int, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(photographs()["astronaut"]).resize(LARGE).convert(mode)
    data = encoded(picture, "JPEG", quality=92, exif=exif)
    whole, got = decode(data, ENOUGH), decode(data, ENOUGH, CLIP.needed)
    assert got.drafted
    assert (got.height, got.width) == (whole.height, whole.width) == whole.rgb.shape[:2]
    assert levels(CLIP(got.rgb, (got.height, got.width)), CLIP(whole.rgb)) < 2


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "CMYK"])
def test_other_files_are_decoded_whole(kind: str) -> None:
    picture = Image.fromarray(photographs()["flower"]).resize(LARGE)
    data = encoded(picture.convert("CMYK"), "JPEG") if kind == "CMYK" else encoded(picture, kind)
    got = decode(data, ENOUGH, CLIP.needed)
    assert not got.drafted
    assert np.array_equal(got.rgb, decode(data, ENOUGH).rgb)


@pytest.mark.parametrize("cut", [20, 200, 0.5, 0.9])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_that_ends_early_is_told_from_a_draft_too(cut: float, progressive: bool) -> None:
    data = large("china", progressive=progressive)
    part = data[: int(len(data) * cut)] if cut < 1 else data[: -int(cut)]
    with pytest.raises(ImageFailure) as caught:
        decode(part, ENOUGH, CLIP.needed)
    assert caught.value.code == "truncated"


@given(damage=st.data())
def test_damage_ends_in_the_same_code(damage: st.DataObject) -> None:
    data = bytearray(files()["jpeg_baseline"])
    for _ in range(damage.draw(st.integers(1, 6))):
        data[damage.draw(st.integers(0, len(data) - 1))] = damage.draw(st.integers(0, 255))
    ends = []
    for needed in (None, lambda height, width: (max(1, height // 8), max(1, width // 8))):
        try:
            decode(bytes(data), 1_000_000, needed)
            ends.append("")
        except ImageFailure as failure:
            ends.append(failure.code)
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("clip", {}),
        ("siglip", {}),
        ("bit", {"size": {"shortest_edge": 256}}),
        ("siglip2", {}),
        ("dinov3vit", {}),
    ],
)
def test_the_cut_is_that_of_the_whole_picture(family: str, config: dict[str, Any]) -> None:
    resize = Resize(read_geometry(config, family))
    # Sides whose proportions a draft rounds.
    data = large("coffee", (2005, 1499))
    whole, got = decode(data, ENOUGH), decode(data, ENOUGH, resize.needed)
    assert got.drafted
    assert levels(resize(got.rgb, (got.height, got.width))[..., :3], resize(whole.rgb)[..., :3]) < 2


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder("demo", precision="fp32")


@pytest.mark.parametrize("name", sorted(photographs()))
def test_the_vector_hardly_moves(name: str, encoder: Encoder) -> None:
    preprocess = load_preprocess(describe("demo", "draft"))
    assert isinstance(preprocess, Drafting)
    data = large(name)
    got = decode(data, ENOUGH, preprocess.needed)
    assert got.drafted
    pixels = np.stack([preprocess(got.rgb, (got.height, got.width)), preprocess(decode(data, ENOUGH).rgb)])
    drafted, exact = encoder.encode_pixels(pixels).astype(np.float64)
    assert 1 - drafted @ exact < 1e-3


def test_a_draft_is_another_encoder() -> None:
    exact, draft = describe("demo"), describe("demo", "draft")
    assert (exact.decode, draft.decode) == ("exact", "draft")
    assert exact.checkpoint_fp == draft.checkpoint_fp
    assert exact.preprocess_fp != draft.preprocess_fp
    assert exact.encoder_id != draft.encoder_id
    assert type(draft).from_card(draft.card()) == draft


def test_a_loader_that_knows_no_drafts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(EncoderError, match="stub") as caught:
        clipflow.run(job(tmp_path / "images", tmp_path / "t.lance", decode="draft"), ray="none")
    assert caught.value.mend == "Set decode: exact."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    (images / "large.jpg").write_bytes(large("china"))
    (images / "turned.jpg").write_bytes(large("coffee", exif=exif))
    (images / "small.jpg").write_bytes(large("flower", (200, 150)))
    (images / "large.png").write_bytes(encoded(Image.fromarray(photographs()["astronaut"]), "PNG"))
    (images / "broken.jpg").write_bytes(large("china")[:-500])
    return images


def table(folder: Path, name: str, **more: Any) -> tuple[JobSpec, dict[str, dict[str, Any]]]:
    spec = job(folder, folder.parent / f"{name}.lance", encoder={"model": "demo"}, **more)
    report = clipflow.run(spec, ray="none").document()
    assert (report["embedded"], report["failed"]) == (4, 1)
    found = rows(folder.parent / f"{name}.lance")
    return spec, {Path(row["source_uri"]).name: row for row in found.values()}


def test_a_row_tells_of_the_whole_picture_or_nothing(folder: Path) -> None:
    _, exact = table(folder, "exact")
    _, draft = table(folder, "draft", decode="draft")
    shape = ("width", "height", "min_side", "aspect_ratio", "megapixels", "bytes_per_pixel", "media_type", "status")
    detail = ("blur", "entropy", "phash")
    for name, row in draft.items():
        assert {key: row[key] for key in shape} == {key: exact[name][key] for key in shape}
        drafted = name in ("large.jpg", "turned.jpg")
        assert {key: row[key] for key in detail} == {key: None if drafted else exact[name][key] for key in detail}
    assert draft["broken.jpg"]["reasons"] == ["truncated"]


def test_a_rule_sees_the_measures_of_the_whole_picture(folder: Path) -> None:
    for policy in (
        BLUR,
        {"rules": [{"name": "flat", "score": "expression", "sql": "entropy", "review_below": 7.0}]},
        {"rules": [{"name": "twin", "score": "perceptual_duplicate", "review_above": 0.9}]},
    ):
        name = policy["rules"][0]["name"]
        _, exact = table(folder, f"exact_{name}", policy=policy)
        _, draft = table(folder, f"draft_{name}", policy=policy, decode="draft")
        told = ("blur", "entropy", "phash", "status", "reasons")
        assert [[row[key] for key in told] for row in draft.values()] == [
            [exact[file][key] for key in told] for file in draft
        ]


def test_a_policy_that_reads_what_is_not_there_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(folder, "t", decode="draft")
    version = lance.dataset(str(folder.parent / "t.lance")).version
    (folder.parent / "blur.yaml").write_text("rules: [{name: blurred, score: blur, review_below: 300}]")
    assert main(["judge", str(folder.parent / "t.lance"), "--policy", str(folder.parent / "blur.yaml")]) == 2
    assert "A rule reads blur, which 2 rows do not have" in capsys.readouterr().err
    assert lance.dataset(str(folder.parent / "t.lance")).version == version


def test_a_policy_that_was_there_from_the_start_can_be_changed(folder: Path) -> None:
    table(folder, "t", decode="draft", policy=BLUR)
    (folder.parent / "blur.yaml").write_text("rules: [{name: blurred, score: blur, reject_below: 1e9}]")
    assert main(["judge", str(folder.parent / "t.lance"), "--policy", str(folder.parent / "blur.yaml")]) == 0
    assert [row["status"] for row in rows(folder.parent / "t.lance").values()].count("rejected") == 4


def test_a_table_holds_drafts_or_none(folder: Path) -> None:
    spec, found = table(folder, "t", decode="draft")
    assert clipflow.run(spec, ray="none").document()["unchanged"] == 5
    assert {row["encoder_id"] for row in found.values()} == {describe("demo", "draft").encoder_id}
    with pytest.raises(EncoderMismatch):
        clipflow.run(spec.model_copy(update={"decode": "exact"}), ray="none")


def test_a_table_of_drafts_is_searched_as_any(folder: Path) -> None:
    table(folder, "t", decode="draft")
    found = search(str(folder.parent / "t.lance"), image=folder / "large.jpg", k=1)
    assert Path(found[0]["source_uri"]).name == "large.jpg"
    assert found[0]["similarity"] > 0.999
    assert search(str(folder.parent / "t.lance"), "a red square", k=1)
