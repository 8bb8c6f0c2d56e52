"""Names that are not pictures are left out, counted, and never taken for deleted."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import clipflow
from clipflow.errors import JobFileError
from clipflow.jobfile import parse_job
from clipflow.source import Notes, list_source
from clipflow.source.exclude import Exclude, patterns
from clipflow.spec import DEFAULT_EXCLUDE, SourceSpec
from clipflow.uri import canonical
from tests.catalogues import STUB, draw, job, rows
from tests.s3 import S3Server

NOT_PICTURES = [
    "._a.png",
    "sub/.DS_Store",
    "Thumbs.db",
    "THUMBS.DB",
    "desktop.ini",
    "_SUCCESS",
    ".part-0.crc",
    "x_$folder$",
    "@eaDir/a.png/SYNOFILE_THUMB_M.jpg",
    "lost+found/a.png",
    "#recycle/deep/a.png",
    "System Volume Information/IndexerVolumeGuid",
    "lake/t.lance/data/a.png",
    "manifest.csv",
    "m.jsonl.gz",
    "audit.html",
]


def listed(source: SourceSpec, own: tuple[str, ...] = ()) -> tuple[set[str], int]:
    notes = Notes()
    found = [uri for batch in list_source(source, None, notes, own=own) for uri in batch["source_uri"].to_pylist()]
    return {uri.removeprefix(f"{canonical(source.uri).rstrip('/')}/") for uri in found}, notes.excluded


def test_a_folder_leaves_out_what_is_no_picture(tmp_path: Path) -> None:
    for name in [*NOT_PICTURES, "a.png", "sub/b", "table_SUCCESS.png"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    found, excluded = listed(SourceSpec(uri=str(tmp_path)))
    assert found == {"a.png", "sub/b", "table_SUCCESS.png"}
    assert excluded == len(NOT_PICTURES), "a folder that is left out counts once, as does a name"


def test_a_bucket_does_the_same(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch)
    for name in [*NOT_PICTURES, "a.png"]:
        s3.put(f"exclude/{name}", b"x")
    assert listed(SourceSpec(uri="s3://open/exclude/")) == ({"a.png"}, len(NOT_PICTURES))


def test_the_root_itself_may_have_any_name(tmp_path: Path) -> None:
    root = tmp_path / "lost+found" / "x.lance"
    draw(root, [1])
    assert listed(SourceSpec(uri=str(root)))[0] == {"000001.png"}
    (tmp_path / "._one.png").write_bytes(b"x")
    assert listed(SourceSpec(uri=str(tmp_path / "._one.png")))[1] == 0, "named by the job itself"


@pytest.mark.parametrize(
    ("given", "below", "left_out"),
    [
        (["*.tmp"], "a/b.TMP", True),
        (["*.tmp"], "a.tmp/b", True),
        (["*.tmp"], "a.tmpx", False),
        (["a/*.png"], "a/b.png", True),
        (["a/*.png"], "x/a/b.png", False),
        (["a/*.png"], "a/c/b.png", False),
        (["**/cache/*"], "x/y/cache/b.png", True),
        (["cache/"], "x/cache/b.png", True),
        (["/top"], "top/b.png", True),
        (["/top"], "x/top/b.png", False),
        (["top/"], "x/top/b.png", True),
        (["[ab].png"], "a.png", True),
        (["default", "*.tmp"], "._a", True),
        (["*.tmp"], "._a", False),
        ([], "Thumbs.db", False),
    ],
)
def test_patterns(given: list[str], below: str, left_out: bool) -> None:
    assert Exclude.of(SourceSpec(uri="/x", exclude=tuple(given))).leaves_out(below) is left_out


def test_default_is_what_stands_in_its_place() -> None:
    assert patterns(SourceSpec(uri="/x")) == list(DEFAULT_EXCLUDE)
    assert patterns(SourceSpec(uri="/x", exclude=("a", "default"))) == ["a", *DEFAULT_EXCLUDE]


@pytest.mark.parametrize(
    "source",
    [{"uri": "/x", "exclude": [""]}, {"uri": "/x.csv", "kind": "manifest", "exclude": ["a"]}],
)
def test_what_cannot_be_meant_is_refused(source: dict[str, object]) -> None:
    with pytest.raises(JobFileError, match="exclude"):
        parse_job({"name": "t", "source": source, "encoder": STUB, "table": {"uri": "t.lance"}})
    with pytest.raises(JobFileError, match="glob"):
        Exclude.of(SourceSpec(uri="/x", exclude=("a**b",)))


def test_a_table_in_its_own_source_is_left_out_whatever_the_job_excludes(tmp_path: Path) -> None:
    draw(tmp_path / "src", range(2))
    spec = job(tmp_path / "src", tmp_path / "src/lake/t.lance", source={"exclude": []})
    first = clipflow.run(spec, ray="none")
    again = clipflow.run(spec, ray="none")
    assert (first.counts["embedded"], again.counts["unchanged"], again.version) == (2, 2, first.version)


def test_what_is_left_out_from_now_on_is_not_deleted(tmp_path: Path) -> None:
    draw(tmp_path / "src", range(2))
    draw(tmp_path / "src/old", range(10, 12))
    spec = job(tmp_path / "src", tmp_path / "t.lance", source={"deleted": "reject"})
    clipflow.run(spec, ray="none")
    spec = job(tmp_path / "src", tmp_path / "t.lance", source={"deleted": "reject", "exclude": ["default", "old"]})
    report = clipflow.run(spec, ray="none")
    assert (report.counts["listed"], report.excluded, report.withdrawn) == (2, 1, 0)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may read everything, whatever a folder's rights say."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody who may not read")
def test_a_folder_that_may_not_be_read_is_named_and_what_lies_in_it_stays(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may be entered by nobody else
        root = Path(folder)
        draw(root / "src", range(2))
        draw(root / "src/shut", range(10, 13))
        spec = job(root / "src", root / "lake/t.lance", source={"deleted": "reject"})
        clipflow.run(spec, ray="none")
        for path in (root, root / "lake", *(root / "lake").rglob("*")):
            path.chmod(0o777)
        (root / "src/shut").chmod(0o700)
        (root / "src/000000.png").unlink()
        with as_nobody():
            report = clipflow.run(spec, ray="none").document()
        assert (report["listed"], report["excluded"], report["withdrawn"]) == (1, 1, 1)
        assert str(root / "src/shut") in report["warnings"][0]
        assert sorted(row["status"] for row in rows(root / "lake/t.lance").values()) == ["accepted"] * 4 + ["rejected"]
