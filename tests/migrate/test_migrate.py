"""A migration: what goes over, what is refused, when readers see it, and that it can stop anywhere."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

import clipflow
from clipflow.cli import main
from clipflow.errors import JobFileError, PolicyError, TableError, TooManyFailed, UsageError
from clipflow.forget.forget import forget
from clipflow.migrate.migrate import migrate
from clipflow.migrate.overlap import retrieval_overlap
from clipflow.migrate.report import INCOMPARABLE, Migration
from clipflow.migrate.thresholds import carried, of_vectors
from clipflow.rejudge import rejudge
from clipflow.schema import REVIEW_COLUMNS
from clipflow.spec import JobSpec, PolicySpec
from clipflow.table.address import TableAddress
from clipflow.uri import canonical, image_id
from tests.catalogues import STUB, assert_unique_ever, draw, job, picture, rows
from tests.drivers import Driver, versions
from tests.tiny_models import tiny_clip

POLICY = {
    "rules": [{"name": "small", "score": "min_side", "review_below": 45}, {"name": "same", "score": "exact_duplicate"}]
}
OTHER = {"model": "stub:dim=24", "loader": "stub"}
MONTH = 31 * 86_400


def date(path: Path, month: int) -> None:
    moment = 1_700_000_000 + month * MONTH
    os.utime(path, (moment, moment))


@pytest.fixture
def filled(tmp_path: Path) -> JobSpec:
    """Sixteen pictures over four months, and a broken one; names that need quoting among them."""
    draw(tmp_path / "images", range(15))
    (tmp_path / "images/a b%2F#ü.png").write_bytes(picture(99))
    (tmp_path / "images/broken.png").write_bytes(b"no picture")
    for number, path in enumerate(sorted((tmp_path / "images").iterdir())):
        date(path, number % 4)
    spec = job(tmp_path / "images", tmp_path / "old.lance", policy=POLICY)
    clipflow.run(spec, ray="none")
    return spec


def key(spec: JobSpec, name: str) -> str:
    return image_id(canonical(f"{spec.source.uri}/{name}"))


def moved(spec: JobSpec, **more: Any) -> Migration:
    return migrate(spec.table.uri, OTHER["model"], sets=["encoder.loader=stub"], ray="none", **more)


def runs(table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = lance.dataset(table.replace(".lance", "_runs.lance")).to_table().to_pylist()
    return found


def test_from_the_demo_encoder_to_a_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for number in range(14):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
        date(tmp_path / f"{number}.png", number % 3)
        lines.append({"uri": f"{number}.png", "text": f"picture {number}", "locale": "de" if number % 2 else None})
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
    fits = {"name": "fits", "score": "caption", "reject_below": -0.9}
    old = str(tmp_path / "old.lance")
    source = {"kind": "manifest", "caption": "text", "attributes": ["locale", "uri"]}
    policy = {"rules": [*POLICY["rules"], fits]}
    spec = job(tmp_path / "list.jsonl", old, source=source, policy=policy, encoder={"model": "demo"})
    clipflow.run(spec, ray="none")
    table = clipflow.open(old)
    table.review([str(tmp_path / "3.png")], "rejected", by="ann", why="a screenshot")
    forget(old, uris=[str(tmp_path / "5.png")])
    before = rows(old)
    clip = str(tiny_clip(tmp_path / "clip"))
    call = ["migrate", old, "--encoder", clip, "--table", str(tmp_path / "new.lance"), "--ray", "none", "--json"]

    capsys.readouterr()
    assert main(call) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "fits (caption)" in error["message"]
    assert "small" not in error["message"]
    assert not (tmp_path / "new.lance").exists()

    (tmp_path / "policy.json").write_text(json.dumps({"rules": [*POLICY["rules"], {**fits, "reject_below": -0.99}]}))
    call += ["--policy", str(tmp_path / "policy.json")]
    assert main([*call, "--limit", "6"]) == 0
    part = json.loads(capsys.readouterr().out)
    assert (part["embedded"], part["left"], part["switched"], part["tombstones"]) == (6, 7, False, 1)
    assert table.metadata["encoder_id"] == part["from_encoder_id"], "readers see the old table"

    # Without --policy: the new table has one by now.
    assert main(call[:-2]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["listed"], done["unchanged"], done["embedded"], done["left"]) == (13, 6, 7, 0)
    assert (done["switched"], done["reviews"], done["reviews_left"]) == (True, 1, 0)
    assert done["incomparable"] == INCOMPARABLE
    assert (done["retrieval"]["k"], done["retrieval"]["queries"], done["retrieval"]["rows"]) == (10, 13, 13)
    assert 0 < done["retrieval"]["overlap"] < 1
    assert (
        table.metadata["encoder_id"]
        == done["encoder_id"]
        == clipflow.open(tmp_path / "new.lance").metadata["encoder_id"]
    )

    after = rows(tmp_path / "new.lance")
    assert after.keys() == before.keys()
    source_columns = ("source_uri", "source_etag", "source_modified", "content_sha256")
    same = (*source_columns, "caption", "attr_locale", "attr_uri", *REVIEW_COLUMNS)
    for image, row in before.items():
        assert {name: after[image][name] for name in same} == {name: row[name] for name in same}
        assert (after[image]["status"], after[image]["job"]) == (row["status"], "test")
        assert len(after[image]["vector"]) == 24
    # All that reads by the old name.
    (counted,) = table.sql("select count(*) as n, count(distinct encoder_id) as e from images")
    assert counted == {"n": 13, "e": 1}
    assert table.search("picture 1", everything=True, k=3)
    assert table.explain(str(tmp_path / "3.png")).body["encoder"]["model"] == clip
    assert table.queue().table == str(tmp_path / "new.lance")
    first = clipflow.query.search.search(old, "red", version=lance.dataset(old).version, everything=True, k=1)
    assert first, "a version is one of the table that is named"


def test_what_it_says_to_people(filled: JobSpec) -> None:
    said = moved(filled).text()
    assert "readers of" in said
    assert "retrieval overlap@10" in said
    assert INCOMPARABLE in said


def test_the_next_run_goes_on_in_the_new_table(filled: JobSpec) -> None:
    report = moved(filled)
    assert (report.listed, report.embedded, report.failed, report.intervals) == (17, 16, 1, 4)
    (started,) = {row["interval_start"].day for row in rows(report.table).values()}
    assert started == 1
    spec = job(filled.source.uri, report.table, policy=POLICY, encoder=OTHER)
    assert clipflow.run(spec, ray="none").counts["unchanged"] == 17
    with pytest.raises(TableError, match=r"was migrated to .*old_[0-9a-f]{12}\.lance"):
        clipflow.run(filled, ray="none")
    with pytest.raises(TableError, match="was migrated to"):
        clipflow.plan(filled)
    with pytest.raises(TableError, match="was migrated to"):
        rejudge(filled.table.uri, PolicySpec())
    assert [row["verb"] for row in runs(filled.table.uri)].count("migrate") == 1
    assert {row["state"] for row in runs(report.table)} == {"done"}


def test_again_does_nothing_and_on_to_a_third(filled: JobSpec) -> None:
    report = moved(filled)
    again = moved(filled)
    assert (again.unchanged, again.failed, again.embedded, again.version) == (17, 0, 0, report.version)
    with pytest.raises(TableError, match="already"):
        migrate(filled.table.uri, "stub:dim=8", sets=["encoder.loader=stub"], ray="none")
    third = migrate(report.table, "stub:dim=8", sets=["encoder.loader=stub"], ray="none")
    assert third.table == str(Path(filled.table.uri).with_name(Path(third.table).name))
    assert clipflow.open(filled.table.uri).metadata["encoder_id"] == third.encoder_id, "over two steps"


def test_a_folder_that_was_moved_as_a_whole(filled: JobSpec, tmp_path: Path) -> None:
    report = moved(filled)
    (tmp_path / "lake").mkdir()
    for path in tmp_path.glob("old*.lance"):
        shutil.move(path, tmp_path / "lake" / path.name)
    assert clipflow.open(tmp_path / "lake/old.lance").metadata["encoder_id"] == report.encoder_id


def test_into_another_folder(filled: JobSpec, tmp_path: Path) -> None:
    report = moved(filled, to=str(tmp_path / "lake/new.lance"))
    assert report.table == str(tmp_path / "lake/new.lance")
    assert clipflow.open(filled.table.uri).metadata["encoder_id"] == report.encoder_id


def test_killed_after_a_part(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(24))
    for number, path in enumerate(sorted((tmp_path / "images").iterdir())):
        date(path, number // 6)
    spec = job(tmp_path / "images", tmp_path / "old.lance")
    clipflow.run(spec, ray="none")
    new = tmp_path / "new.lance"
    words = ["migrate", spec.table.uri, "--set", "encoder.loader=stub", "--table", str(new), "--ray", "none"]
    committed: dict[str, Any] = {}
    for _ in range(2):
        # Parts have six images: it hangs in the second.
        driver = Driver(*words, "--encoder", "stub:dim=24,gate=7", one_cpu=True)
        least = len(committed) + 6
        assert driver.until(lambda least=least: held(new) >= least, "a part"), driver.log  # type: ignore[misc]
        assert driver.kill()
        found = rows(new, ["image_id", "run_id", "embedded_at"])
        assert {image: found[image] for image in committed} == committed
        committed = found
        assert clipflow.open(spec.table.uri).metadata["encoder_id"] == rows(spec.table.uri).popitem()[1]["encoder_id"]
    assert len(committed) == 12
    assert main([*words, "--encoder", "stub:dim=24"]) == 0
    found = rows(new, ["image_id", "run_id", "embedded_at"])
    assert {image: found[image] for image in committed} == committed, "embedded twice"
    assert found.keys() == rows(spec.table.uri).keys()
    assert_unique_ever(new)


def held(table: Path) -> int:
    return lance.dataset(str(table)).count_rows() if versions(table) else 0


def test_beside_a_run_no_row_is_left_behind(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(8))
    spec = job(tmp_path / "images", tmp_path / "old.lance", table={"commit_rows": 3})
    clipflow.run(spec, ray="none")
    draw(tmp_path / "images", range(8, 60))
    (tmp_path / "gate").touch()
    (tmp_path / "job.json").write_text(json.dumps({**spec.body(), "encoder": {**STUB, "model": "stub:dim=16,gate=5"}}))
    words = ["run", str(tmp_path / "job.json"), "--ray", "none", "--json"]
    driver = Driver(*words, gate=tmp_path / "gate", one_cpu=True)
    assert driver.until(lambda: held(tmp_path / "old.lance") >= 11, "the run commits"), driver.log
    report = moved(spec)
    (tmp_path / "gate").unlink()
    driver.wait()
    # Readers were switched under the run: what it had committed went over, and the rest goes into the new table.
    assert json.loads(driver.said)["error"]["class"] == "TableError"
    assert len(rows(report.table)) == 11
    assert rows(report.table).keys() == rows(spec.table.uri).keys()
    assert_unique_ever(report.table)


def test_reviews_before_between_and_after(filled: JobSpec) -> None:
    first, second, third = (key(filled, f"{number:06}.png") for number in range(3))
    table = clipflow.open(filled.table.uri)
    table.review([first, second, third], "rejected", by="ann", why="a screenshot")
    Path(filled.source.uri, "000002.png").write_bytes(picture(77))
    part = moved(filled, limit=16)
    assert (part.left, part.reviews) == (1, 0)
    report = moved(filled)
    assert (report.reviews, report.reviews_left) == (2, 1), "other bytes have no review"
    found = rows(report.table)
    assert [found[image]["reviewed_by"] for image in (first, second, third)] == ["ann", "ann", None]
    assert found[first]["status"] == "rejected"
    assert found[first]["reasons"] == ["small"], "what the rules say stands beside it"
    # Afterwards the old name leads to the new table, and nothing comes back from the old one.
    table.review([first], None, by="bob", why="no screenshot")
    assert rows(report.table)[first]["status"] == "review"
    assert rows(filled.table.uri)[first]["reviewed_by"] == "ann"
    assert moved(filled).reviews == 0
    assert rows(report.table)[first]["reviewed_by"] is None


def test_forgotten_meanwhile(filled: JobSpec) -> None:
    part = moved(filled, limit=16)
    gone = key(filled, "000000.png")
    assert gone in rows(part.table)
    forget(filled.table.uri, uris=[f"{filled.source.uri}/000000.png"])
    report = moved(filled)
    assert (report.tombstones, report.switched) == (1, True)
    assert gone not in rows(report.table)
    assert len(rows(report.table)) == 16
    assert len(lance.dataset(report.table).versions()) < 8, "erased, with the versions that held it"


def test_which_of_two_alike_is_the_original_stays(tmp_path: Path) -> None:
    images, table = tmp_path / "images", tmp_path / "old.lance"
    images.mkdir()
    policy = {"rules": [{"name": "copy", "score": "exact_duplicate", "reject_above": 0.5}]}
    spec = job(images, table, policy=policy)
    (images / "original.png").write_bytes(picture(1))
    clipflow.run(spec, ray="none")
    (images / "a-copy.png").write_bytes(picture(1))
    date(images / "a-copy.png", 0)
    clipflow.run(spec, ray="none")
    report = moved(spec)
    kept = ("source_uri", "first_seen_at", "source_id", "status")
    told = [[{name: row[name] for name in kept} for row in rows(one).values()] for one in (table, report.table)]
    assert sorted(told[0], key=str) == sorted(told[1], key=str)
    assert [row["status"] for row in told[0]].count("rejected") == 1


def test_sources_that_fail(filled: JobSpec) -> None:
    for number in range(12):
        Path(filled.source.uri, f"{number:06}.png").unlink()
    with pytest.raises(TooManyFailed, match="have a vector in the old table") as caught:
        moved(filled)
    assert caught.value.report is not None
    assert caught.value.report["switched"] is False
    assert clipflow.open(filled.table.uri).metadata["encoder_id"] != caught.value.report["encoder_id"]
    allowed = migrate(
        filled.table.uri, OTHER["model"], sets=["encoder.loader=stub", "limits.max_failed_share=1"], ray="none"
    )
    assert allowed.switched
    assert [row["reasons"] for row in rows(allowed.table).values() if row["status"] == "failed"].count(
        ["not_found"]
    ) == 12


def test_what_failed_in_the_old_table_too_stops_nothing(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(3))
    for number in range(4):
        (tmp_path / f"images/broken{number}.png").write_bytes(b"no picture")
        date(tmp_path / f"images/broken{number}.png", 0)
    spec = job(tmp_path / "images", tmp_path / "old.lance", limits={"max_failed_share": 0.7})
    clipflow.run(spec, ray="none")
    report = moved(spec, to=str(tmp_path / "new.lance"))
    assert (report.switched, report.failed, report.embedded) == (True, 4, 3)


def test_rows_whose_object_is_gone_are_left_out(filled: JobSpec) -> None:
    Path(filled.source.uri, "000000.png").unlink()
    deleted = job(filled.source.uri, filled.table.uri, policy=POLICY, source={"deleted": "reject"})
    assert clipflow.run(deleted, ray="none").withdrawn == 1
    report = moved(filled)
    assert (report.withdrawn, report.listed, report.failed) == (1, 16, 1)


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        ({"encoder": "stub:dim=16"}, UsageError, "this very encoder"),
        ({"to": "{old}"}, UsageError, "is the old table"),
        ({"sets": ["source.uri=/tmp"]}, JobFileError, "takes it from the old table"),
        ({"sets": ["encoder.model=x"]}, JobFileError, "takes it from the old table"),
        ({"to": "new"}, TableError, "does not end in .lance"),
    ],
)
def test_wrong_calls_write_nothing(
    filled: JobSpec, tmp_path: Path, more: dict[str, Any], error: type[UsageError], words: str
) -> None:
    there = sorted(tmp_path.iterdir())
    given: dict[str, Any] = {"encoder": OTHER["model"], "sets": [], **more}
    given["sets"] = ["encoder.loader=stub", *given["sets"]]
    if "to" in given:
        given["to"] = given["to"].format(old=filled.table.uri)
    with pytest.raises(error, match=words):
        migrate(filled.table.uri, ray="none", **given)
    assert sorted(tmp_path.iterdir()) == there
    assert [row["verb"] for row in runs(filled.table.uri)] == ["run"]


def test_which_rules_must_be_restated() -> None:
    policy = PolicySpec.model_validate(
        {
            "rules": [
                {"name": "a", "score": "blur", "review_below": 1},
                {"name": "b", "score": "perceptual_duplicate", "reject_above": 0.9},
                {"name": "c", "score": "near_duplicate", "reject_above": 0.9},
                {"name": "d", "score": "expression", "sql": "score_c * 2", "reject_above": 1},
                {"name": "e", "score": "expression", "sql": "blur / score_b", "reject_above": 1},
                {"name": "f", "score": "expression", "sql": "score_d + 1", "reject_above": 1},
            ]
        }
    )
    assert [rule.name for rule in of_vectors(policy)] == ["c", "d", "f"]
    with pytest.raises(PolicyError, match=r"c \(near_duplicate\), d \(expression\), f \(expression\)") as caught:
        carried(policy)
    assert caught.value.exit_code == 2


def test_the_overlap_is_what_counting_gives(filled: JobSpec) -> None:
    report = moved(filled)
    old, new = (rows(table) for table in (filled.table.uri, report.table))
    ids = sorted(image for image in old if old[image]["status"] != "failed")

    def nearest(table: dict[str, Any], image: str) -> set[str]:
        vector = np.array(table[image]["vector"], np.float64)
        others = [(-np.dot(vector, table[one]["vector"]) / np.linalg.norm(table[one]["vector"]), one) for one in ids]
        return {one for _, one in sorted(pair for pair in others if pair[1] != image)[:10]}

    counted = np.mean([len(nearest(old, image) & nearest(new, image)) / 10 for image in ids])
    assert report.retrieval == {"k": 10, "queries": 16, "rows": 16, "overlap": pytest.approx(counted, abs=1e-4)}
    same = TableAddress.of(filled.table.uri)
    assert retrieval_overlap(same, lance.dataset(filled.table.uri).version, same)["overlap"] == 1


def test_an_empty_table_moves_too(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/one.png").write_bytes(picture(1))
    spec = job(tmp_path / "images", tmp_path / "old.lance")
    clipflow.run(spec, ray="none")
    forget(spec.table.uri, uris=[str(tmp_path / "images/one.png")])
    report = moved(spec)
    assert (report.switched, report.listed, report.tombstones) == (True, 0, 1)
    assert report.retrieval == {"k": 10, "queries": 0, "rows": 0, "overlap": None}
    assert clipflow.open(spec.table.uri).metadata["encoder_id"] == report.encoder_id
