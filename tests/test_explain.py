"""One image on one page: what it says is what the table holds, at every version."""

import json
import os
import re
from datetime import UTC, datetime
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

import clipflow
from clipflow.cli import main
from clipflow.errors import UsageError
from clipflow.explain import explain
from clipflow.explain.history import read_history
from clipflow.explain.image import NOTE
from clipflow.explain.page import sections, text
from clipflow.failures import MEANINGS
from clipflow.schema import FORGOTTEN, REVIEW_COLUMNS
from clipflow.spec import JobSpec
from clipflow.table.maintain import maintain
from clipflow.table.review import Review, review
from clipflow.uri import canonical, image_id
from tests.catalogues import job, picture, rows

POLICY = {
    "purpose": "product photos <only> & nothing else",
    "owner": "ann",
    "rules": [
        {"name": "small", "score": "min_side", "review_below": 45, "reject_below": 35},
        {"name": "wide", "score": "aspect_ratio", "reject_above": 3},
        {"name": "fits", "score": "caption", "review_below": -0.95},
    ],
}
HEIGHTS = {"good": 60, "queued": 40, "bad": 20}
ODD = "<script>alert(1)</script> & 'a' \"cup\""


@pytest.fixture
def filled(tmp_path: Path) -> JobSpec:
    """A picture of every verdict, a broken one, captions, and an attribute."""
    images = tmp_path / "images"
    images.mkdir()
    lines = ["uri,caption,locale"]
    for number, (name, height) in enumerate(HEIGHTS.items()):
        (images / f"{name}.png").write_bytes(picture(number, height=height, width=80))
        lines.append(f'{images}/{name}.png,"{ODD.replace(chr(34), 2 * chr(34))}",de')
    (images / "broken.png").write_bytes(b"no picture")
    lines.append(f"{images}/broken.png,broken,de")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    source = {"kind": "manifest", "caption": "caption", "attributes": ["locale"]}
    spec = job(
        tmp_path / "list.csv",
        tmp_path / "t.lance",
        source=source,
        policy=POLICY,
        context={"dag_id": "daily"},
        limits={"max_failed_share": 1},
    )
    clipflow.run(spec, ray="none")
    return spec


def path(spec: JobSpec, name: str) -> str:
    return str(Path(spec.source.uri).parent / "images" / f"{name}.png")


def key(spec: JobSpec, name: str) -> str:
    return image_id(canonical(path(spec, name)))


def body(spec: JobSpec, name: str) -> dict[str, Any]:
    return explain(spec.table.uri, key(spec, name)).document()


def ways(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(way["to"], way["if"]) for way in found["changes"]]


def test_the_page_holds_what_the_row_and_its_run_hold(filled: JobSpec) -> None:
    found, row = body(filled, "queued"), rows(filled.table.uri)[key(filled, "queued")]
    for part in ("identity", "pixels", "provenance"):
        assert found[part] == {name: row[name] for name in found[part]}
    assert (found["status"], found["reasons"], found["caption"]) == ("review", ["small"], ODD)
    assert found["attributes"] == {"locale": "de"}
    assert (
        found["encoder"]["checkpoint_fp"]
        == json.loads(clipflow.open(filled.table.uri).metadata["encoder"])["checkpoint_fp"]
    )
    run = clipflow.open(filled.table.uri).sql("select * from runs")[0]
    assert found["run"]["started_at"] == run["started_at"]
    assert (found["run"]["run_id"], found["run"]["context"]) == (row["run_id"], json.loads(run["context"]))
    assert found["run"]["encoder"]["computed_in"] == ["fp32"]
    assert (found["policy"]["policy_id"], found["policy"]["owner"]) == (filled.policy.policy_id, "ann")
    assert found["note"] == NOTE
    by_rule = {rule["rule"]: rule for rule in found["rules"]}
    assert by_rule["small"]["distance"] == {"review_below": -5.0, "reject_below": 5.0}
    assert by_rule["small"]["fired"] == ["review_below"]
    assert by_rule["fits"]["value"] == row["score_fits"]
    assert set(by_rule) == {"small", "wide", "fits"}


def test_it_says_what_would_change_the_verdict(filled: JobSpec) -> None:
    assert ways(body(filled, "queued")) == [
        ("accepted", "small >= 45"),
        ("rejected", "small < 35"),
        ("rejected", "wide > 3"),
    ]
    assert ways(body(filled, "good")) == [
        ("review", "fits < -0.95"),
        ("review", "small < 45"),
        ("rejected", "wide > 3"),
    ]
    assert ways(body(filled, "bad")) == [
        ("review", "small >= 35 and wide <= 3"),
        ("accepted", "small >= 45 and wide <= 3"),
    ]


def test_a_review_stands_beside_what_the_rules_say(filled: JobSpec) -> None:
    review(filled.table.uri, [key(filled, "queued")], Review("rejected", "bob", "not a photo"))
    found = body(filled, "queued")
    assert found["status"] == "rejected"
    assert found["rules_say"] == {"status": "review", "reasons": ["small"]}
    assert {name: found["review"][name] for name in REVIEW_COLUMNS[:3]} == {
        "reviewed_verdict": "rejected",
        "reviewed_by": "bob",
        "reviewed_why": "not a photo",
    }
    page = explain(filled.table.uri, key(filled, "queued")).text()
    assert "stands until it is withdrawn" in page
    assert re.search(r"without the review +review \(small\)", page)
    assert re.search(r"by rules accepted if +small >= 45", page)


def test_a_failed_image_says_what_its_code_means(filled: JobSpec) -> None:
    found = body(filled, "broken")
    assert found["failure"] == {"code": "not_an_image", "meaning": MEANINGS["not_an_image"], "final": True}
    assert (found["rules"], found["changes"]) == ([], [])
    page = explain(filled.table.uri, path(filled, "broken")).text()
    assert MEANINGS["not_an_image"] in page
    assert "not tried again" in page


def test_an_object_that_is_gone_is_told_beside_the_rules(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a", "b"):
        (images / f"{name}.png").write_bytes(picture(3, height=40))
    policy = {"rules": [{"name": "small", "score": "min_side", "review_below": 45}]}
    spec = job(images, tmp_path / "t.lance", source={"deleted": "reject"}, policy=policy)
    clipflow.run(spec, ray="none")
    (images / "a.png").unlink()
    clipflow.run(spec, ray="none")
    found = explain(spec.table.uri, str(images / "a.png"))
    assert found.document()["rules_say"] == {"status": "rejected", "reasons": ["small", "source_deleted"]}
    assert ways(found.document()) == [("accepted", "small >= 45")]
    assert "the rules decide again when it returns" in found.text()
    assert found.document()["run"]["verb"] == "run"


def test_words_of_a_rule_stand_verbatim(filled: JobSpec) -> None:
    found = body(filled, "good")
    found["rules"][0]["parameters"] = {"labels": {"cup": ["a cup", "one “cup”"]}, "templates": ["a photo of {}"]}
    found["rules"][0]["kept"] = {"score_fits__cup": 0.25}
    found["rules"][0]["matches"] = {
        "match_fits": {"image_id": "ab" * 16, "source_uri": "s3://b/k", "status": "accepted"}
    }
    page = text(sections(found))
    for words in ('["a cup", "one “cup”"]', '["a photo of {}"]', "score_fits__cup", "ab" * 16 + " s3://b/k"):
        assert words in page


def test_what_a_terminal_would_obey_is_shown_and_an_earlier_policy_is_told(filled: JobSpec) -> None:
    found = body(filled, "good")
    assert "earlier policy" not in text(sections(found))
    found["caption"], found["provenance"]["policy_id"] = "a\x1b[31m red\ncup", "0" * 64
    page = text(sections(found))
    assert "a\\x1b[31m red\\x0acup" in page
    assert "\x1b" not in page
    assert "judged by an earlier policy" in page


def naive_history(table: str, image: str) -> list[tuple[int, Any]]:
    """Every version read as a whole; the state where it differs from the version before."""
    steps: list[tuple[int, Any]] = []
    before = None
    for version in lance.dataset(table).versions():
        row = rows(table, version=version["version"]).get(image)
        names = ("status", "reasons", "run_id", "policy_id", *REVIEW_COLUMNS)
        state = {name: row[name] for name in names} | {"vector": row["vector"] is not None} if row else None
        if state != before:
            steps.append((version["version"], state))
        before = state
    return steps


def replayed(found: list[Any]) -> list[tuple[int, Any]]:
    """The states that steps lead through."""
    states: list[tuple[int, Any]] = []
    state: dict[str, Any] = {}
    for step in found:
        if step.event == "removed":
            state = {}
        elif step.event == "changed":
            assert all(state.get(name) == was for name, (was, _) in step.changed.items())
            state = state | {name: now for name, (_, now) in step.changed.items()}
        else:
            state = step.changed
        states.append((step.version, {name: value for name, value in state.items() if value is not None} or None))
    return states


def test_the_history_is_that_of_every_version_read_alone(filled: JobSpec) -> None:
    table, image = filled.table.uri, key(filled, "queued")
    review(table, [image], Review("accepted", "ann", "fine"))
    review(table, [key(filled, "good")], Review("rejected", "ann", "not this one"))
    review(table, [image], Review(None, "ann", "not fine"))
    Path(path(filled, "queued")).write_bytes(picture(9, height=20, width=80))
    clipflow.run(filled, ray="none")
    maintain(table)
    lance.dataset(table).delete(f"image_id = '{image}'")
    clipflow.run(filled, ray="none")
    Path(path(filled, "queued")).write_bytes(b"no picture")
    os.utime(path(filled, "queued"), (1_900_000_000, 1_900_000_000))
    clipflow.run(filled, ray="none")
    found = read_history(lance.dataset(table), image)
    naive = [
        (version, state and {name: value for name, value in state.items() if value is not None})
        for version, state in naive_history(table, image)
    ]
    assert replayed(found.steps) == naive
    events = [step.event for step in found.steps]
    assert events == ["appeared", "changed", "changed", "changed", "removed", "appeared", "changed"]
    assert found.steps[-1].changed["vector"] == [True, False]
    assert (found.versions, found.older) == (len(lance.dataset(table).versions()), 0)
    assert all(abs((datetime.now(UTC) - step.at).total_seconds()) < 600 for step in found.steps)


def test_a_long_history_is_cut_and_says_so(filled: JobSpec) -> None:
    table, image = filled.table.uri, key(filled, "good")
    for number in range(5):
        review(table, [image], Review("accepted", "ann", f"reason {number}"))
    versions = len(lance.dataset(table).versions())
    found = read_history(lance.dataset(table), image, limit=3)
    assert [step.event for step in found.steps] == ["first", "changed", "changed"]
    assert (found.versions, found.older) == (3, versions - 3)
    whole = body(filled, "good") | {"history": found.document()}
    assert f"Only the newest 3 versions were looked at; {versions - 3} are older." in text(sections(whole))


def tombstone(spec: JobSpec, kind: str, value: str) -> None:
    row = {"hash": value, "kind": kind, "run_id": "r", "forgotten_at": datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)}
    lance.write_dataset(pa.Table.from_pylist([row], FORGOTTEN), spec.table.uri.replace("t.lance", "t_forgotten.lance"))


@pytest.mark.parametrize("gone", [True, False], ids=["row gone", "row still there"])
@pytest.mark.parametrize("named", ["id", "beginning", "address"])
def test_of_a_forgotten_image_nothing_is_told_but_when(filled: JobSpec, gone: bool, named: str) -> None:
    image = key(filled, "good")
    tombstone(filled, "uri", image)
    if gone:
        lance.dataset(filled.table.uri).delete(f"image_id = '{image}'")
    name = {"id": image, "beginning": image[:9], "address": path(filled, "good")}[named]
    with pytest.raises(UsageError) as caught:
        explain(filled.table.uri, name)
    assert str(caught.value) == f"The image {image} was forgotten on 2026-05-04 at 03:02:01 UTC."


def test_an_image_whose_bytes_were_forgotten_is_forgotten(filled: JobSpec) -> None:
    row = rows(filled.table.uri)[key(filled, "good")]
    tombstone(filled, "sha256", row["content_sha256"])
    with pytest.raises(UsageError) as caught:
        explain(filled.table.uri, row["image_id"])
    assert str(caught.value) == f"The image {row['image_id']} was forgotten on 2026-05-04 at 03:02:01 UTC."
    assert body(filled, "queued")["status"] == "review", "others are as they were"


class Read(HTMLParser):
    """What a browser would show, and every tag."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.shown: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.shown.append(data)


def test_the_html_page_is_whole_escaped_and_loads_nothing(filled: JobSpec, tmp_path: Path) -> None:
    review(filled.table.uri, [key(filled, "queued")], Review("accepted", "<b>bob</b>", "a & b"))
    out = tmp_path / "page.html"
    assert main(["explain", filled.table.uri, key(filled, "queued")[:8], "--html", str(out)]) == 0
    page = out.read_text("utf-8")
    read = Read(page)
    assert page.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe", "b"} & set(read.tags)
    assert {name for name, _ in read.attributes} <= {"lang", "charset", "name", "content", "class"}
    assert "url(" not in page
    assert "color-scheme: light dark" in page
    assert "@media print" in page
    for words in (ODD, "<b>bob</b>", "a & b", "product photos <only> & nothing else", NOTE, "small"):
        assert words in read.shown
    for section in sections(body(filled, "queued")):
        assert section.title in read.shown
        assert all(unescape(value) in read.shown for _, value in section.pairs)


def test_the_command_line_and_python_say_the_same(filled: JobSpec, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["explain", filled.table.uri, path(filled, "bad"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["image_id"] == key(filled, "bad")
    found = clipflow.open(filled.table.uri).explain(key(filled, "bad"))
    assert document["changes"] == found.document()["changes"]
    assert main(["explain", filled.table.uri, key(filled, "bad")]) == 0
    assert capsys.readouterr().out == found.text() + "\n"
    table = clipflow.open(filled.table.uri)
    assert table.review([key(filled, "bad")], "accepted", by="ann", why="fine").changed == 1
    assert [row["image_id"] for row in table.queue().rows] == [key(filled, "queued")]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["00000000"], "no row of '00000000'"),
        (["abc"], "too short"),
        (["{image}", "--html", "{folder}/none/page.html"], "cannot be written"),
    ],
)
def test_a_wrong_call_ends_with_two(
    filled: JobSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    command = [word.format(image=key(filled, "good"), folder=tmp_path) for word in words]
    capsys.readouterr()
    assert main(["explain", filled.table.uri, *command, "--json"]) == 2
    assert says in json.loads(capsys.readouterr().out)["error"]["message"]
