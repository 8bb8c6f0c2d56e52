"""One object, spelt as other systems spell it: opened, found, forgotten; and two objects never taken for one."""

import os
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import clipflow
from clipflow.errors import SourceError
from clipflow.explain.image import explain
from clipflow.forget.forget import forget
from clipflow.interval import Interval
from clipflow.source import list_source
from clipflow.spec import SourceSpec
from clipflow.uri import canonical, image_id
from tests.catalogues import job, picture, rows
from tests.s3 import S3Server

NAMES = ["sp ace.png", "ü.png", "100%.png", "50%25.png", "#?.png", "%E9.png"]
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "crème brûlée.png") for form in ("NFC", "NFD"))


def names_of(source: SourceSpec, interval: Interval | None = None) -> set[str]:
    return {
        uri.rpartition("/")[2] for batch in list_source(source, interval) for uri in batch["source_uri"].to_pylist()
    }


def draw(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for at, name in enumerate(names):
        (folder / name).write_bytes(picture(at))


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    s3.use(monkeypatch)
    return s3


def test_addresses_as_python_writes_them_open_and_are_forgotten(tmp_path: Path) -> None:
    images, table = tmp_path / "images", tmp_path / "t.lance"
    draw(images, NAMES)
    with open(os.path.join(os.fsencode(images), b"caf\xe9.png"), "wb") as file:
        file.write(picture(99))
    uris = [path.as_uri() for path in sorted(images.iterdir())]
    (tmp_path / "m.csv").write_text("\n".join(["uri", *uris]) + "\n")
    report = clipflow.run(job(tmp_path / "m.csv", table, source={"kind": "manifest"}), ray="none")
    assert report.counts["embedded"] == len(NAMES) + 1
    by_listing = job(images, table)
    assert clipflow.run(by_listing, ray="none").counts["unchanged"] == len(NAMES) + 1, "the same addresses"
    wanted = (images / "sp ace.png").as_uri()
    assert "%20" in wanted
    assert explain(str(table), wanted).document()["image_id"] == image_id(canonical(images / "sp ace.png"))
    assert forget(str(table), uris=[wanted], wait=0).document()["forgotten"] == 1
    assert image_id(canonical(images / "sp ace.png")) not in rows(table)
    assert clipflow.run(by_listing, ray="none").counts["forgotten"] == 1


def test_what_is_forgotten_before_it_came_stays_away_by_any_spelling(tmp_path: Path) -> None:
    images, table = tmp_path / "images", tmp_path / "t.lance"
    draw(images, ["a.png"])
    clipflow.run(job(images, table), ray="none")
    forget(str(table), uris=[f"file://{images}/b%20b.png", f"file://{images}/{DECOMPOSED}"], wait=0)
    draw(images, ["b b.png", COMPOSED])
    assert clipflow.run(job(images, table), ray="none").counts["forgotten"] == 2


def test_a_file_that_is_named_as_it_is_written_is_meant(tmp_path: Path) -> None:
    images, table = tmp_path / "images", tmp_path / "t.lance"
    draw(images, ["a%20b.png", "a b.png"])
    (tmp_path / "m.csv").write_text(f"uri\nfile://{images}/a%20b.png\n")
    clipflow.run(job(tmp_path / "m.csv", table, source={"kind": "manifest"}), ray="none")
    assert [row["source_uri"] for row in rows(table).values()] == [f"file://{images}/a%20b.png"]
    clipflow.run(job(images, table), ray="none")
    forget(str(table), uris=[f"file://{images}/a%20b.png"], wait=0)
    assert [row["source_uri"] for row in rows(table).values()] == [f"file://{images}/a b.png"]


@pytest.mark.parametrize(("there", "named"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_composed_and_decomposed_letters_find_each_other(tmp_path: Path, there: str, named: str) -> None:
    images = tmp_path / there
    draw(images, [there])
    (tmp_path / "m.csv").write_text(f"uri\n{named}/{named}\n")
    for source in (SourceSpec(kind="manifest", uri=str(tmp_path / "m.csv")), SourceSpec(uri=str(tmp_path / named))):
        assert names_of(source) == {there}


def test_where_both_are_there_each_is_its_own(tmp_path: Path) -> None:
    draw(tmp_path / "images", [COMPOSED, DECOMPOSED])
    mixed = unicodedata.normalize("NFC", "crème ") + unicodedata.normalize("NFD", "brûlée.png")
    (tmp_path / "m.csv").write_text(f"uri\nimages/{COMPOSED}\nimages/{DECOMPOSED}\nimages/{mixed}\n")
    source = SourceSpec(kind="manifest", uri=str(tmp_path / "m.csv"))
    assert names_of(source) == {COMPOSED, DECOMPOSED, mixed}, "of the third nobody can say which it is"


def test_letters_in_a_bucket(bucket: S3Server, tmp_path: Path) -> None:
    bucket.put(f"spelt/{COMPOSED}", picture(1))
    bucket.put(f"both/{COMPOSED}", picture(1))
    bucket.put(f"both/{DECOMPOSED}", picture(2))
    bucket.put(f"{DECOMPOSED}/a.png", picture(3))
    (tmp_path / "m.csv").write_text(f"uri\ns3://open/spelt/{DECOMPOSED}\ns3://open/both/{DECOMPOSED}\n")
    found = [row for batch in list_source(SourceSpec(kind="manifest", uri=str(tmp_path / "m.csv"))) for row in
             batch.to_pylist()]  # fmt: skip
    assert [row["source_uri"] for row in found] == [f"s3://open/spelt/{COMPOSED}", f"s3://open/both/{DECOMPOSED}"]
    assert all(row["source_size"] for row in found)
    assert names_of(SourceSpec(uri=f"s3://open/{COMPOSED}/")) == {"a.png"}


ODD_FOLDERS = ["a[1]", "what?", "x*", "[", "b[!a]c"]


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_what_is_there_as_it_is_written_is_no_glob(tmp_path: Path, name: str) -> None:
    draw(tmp_path / name, ["in.png"])
    draw(tmp_path / "x1", ["other.png"])
    for uri in (tmp_path / name, f"{tmp_path}/{name}/", tmp_path / name / "in.png"):
        assert names_of(SourceSpec(uri=str(uri))) == {"in.png"}


@pytest.mark.parametrize("name", ODD_FOLDERS)
def test_nor_in_a_bucket(bucket: S3Server, name: str) -> None:
    bucket.put(f"literal/{name}/in.png", picture(1))
    bucket.put("literal/x1/other.png", picture(2))
    for end in ("", "/", "/in.png"):
        assert names_of(SourceSpec(uri=f"s3://open/literal/{name}{end}")) == {"in.png"}


def test_a_glob_is_one_where_nothing_has_its_name(bucket: S3Server, tmp_path: Path) -> None:
    for key in ("glob/a1/x.png", "glob/a2/y.png", "glob/b/z.png"):
        bucket.put(key, picture(1))
        draw((tmp_path / key).parent, [key.rpartition("/")[2]])
    for root in ("s3://open", str(tmp_path)):
        assert names_of(SourceSpec(uri=f"{root}/glob/a[12]/*.png")) == {"x.png", "y.png"}
        assert names_of(SourceSpec(uri=f"{root}/glob/a?/*")) == {"x.png", "y.png"}


def test_a_home_is_known_in_every_path_of_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    draw(tmp_path / "images", ["a.png"])
    (tmp_path / "m.csv").write_text("uri\n~/images/a.png\n")
    report = clipflow.run(job("~/images", "~/t.lance"), ray="none")
    assert (report.table, report.counts["embedded"]) == (str(tmp_path / "t.lance"), 1)
    again = clipflow.run(job("~/m.csv", "~/t.lance", source={"kind": "manifest"}), ray="none")
    assert again.counts["unchanged"] == 1
    with pytest.raises(SourceError, match="does not exist"):
        list(list_source(SourceSpec(uri="~nobody/images")))


def test_a_copy_that_keeps_its_time_is_seen_when_it_comes(tmp_path: Path) -> None:
    draw(tmp_path / "images", ["old.png"])
    os.utime(tmp_path / "images/old.png", (1_000_000_000, 1_000_000_000))
    source = SourceSpec(uri=str(tmp_path / "images"), window="modified")
    now = datetime.now(UTC)
    assert names_of(source, Interval(now - timedelta(hours=1), now + timedelta(hours=1))) == {"old.png"}
    assert names_of(source, Interval.parse("2001-09-09", "2001-09-10")) == {"old.png"}
    assert names_of(source, Interval.parse("2020-01-01", "2020-01-02")) == set()


def test_the_version_that_was_read_is_kept(bucket: S3Server, tmp_path: Path) -> None:
    bucket.make_bucket("versions")
    bucket.client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for seed in (1, 2):
        bucket.put("a.png", picture(seed), bucket="versions")
    latest = bucket.client.head_object(Bucket="versions", Key="a.png")["VersionId"]
    table = tmp_path / "t.lance"
    first = clipflow.run(job("s3://versions/", table), ray="none")
    assert [row["source_version"] for row in rows(table).values()] == [latest]
    # A listing names no version; a look at the object, as a manifest's rows get it, does.
    (tmp_path / "m.csv").write_text("uri\ns3://versions/a.png\n")
    by_name = clipflow.run(job(tmp_path / "m.csv", table, source={"kind": "manifest"}), ray="none")
    assert (by_name.counts["unchanged"], by_name.version) == (1, first.version)
    assert clipflow.run(job("s3://versions/", table), ray="none").version == first.version
