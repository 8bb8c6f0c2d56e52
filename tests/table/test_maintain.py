"""Maintenance, step by step: what changes, what never does, and what a second call finds."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

import clipflow
from clipflow.cli import main
from clipflow.errors import OperationClosed, TableError, UsageError
from clipflow.query.search import search
from clipflow.report import RunReport
from clipflow.storage import Storage
from clipflow.table.address import TableAddress
from clipflow.table.clean_up import age_of, clean_up, foresee
from clipflow.table.compact import compact
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.indexes import Wanted, bring_up_to_date
from clipflow.table.maintain import MaintainReport, maintain
from clipflow.table.runs import Operation
from clipflow.table.stage import stage_rows
from tests.catalogues import assert_unique_ever, draw, job, picture, rows
from tests.s3 import S3Server
from tests.table.staging import BEGAN, assignment, commit, staged

BTREE, VECTORS = Wanted("content_sha256", "BTREE", 100), Wanted("vector", "IVF_PQ", 300)
KEYS = {"version", "from_version", "fragments_before", "fragments_after", "indexes", "tag", "run_id", "rows", "table"}


def uri(folder: Path) -> str:
    return str(folder / "t.lance")


def scattered(folder: Path, fragments: int = 12, first: int = 0) -> None:
    """One commit a fragment, two rows each, and every third row written twice."""
    for number in range(first, first + fragments):
        given = assignment(folder, f"run-{number}")
        again = [{"key": number - 1, "second": number}] * (number % 3 == 2)
        commit(given, staged(given, {"key": number}, {"key": 1000 + number, "code": "corrupt"}, *again))


def embedded(folder: Path, keys: range, run_id: str, parts: int = 4, failed: bool = False) -> None:
    """Rows with vectors (every tenth rejected), or failed ones without, committed in so many fragments."""
    given = assignment(folder, run_id)
    rng = np.random.default_rng(keys.start)
    receipts = []
    for part in np.array_split(np.array(keys), parts):
        vectors = rng.standard_normal((len(part), given.info.dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        dataset = lance.dataset(uri(folder))
        made = [
            {
                "image_id": f"{key:032x}",
                "source_uri": f"file:///{key}",
                "source_modified": BEGAN,
                "content_sha256": f"{key:064x}",
                "status": "failed" if failed else "rejected" if key % 10 == 0 else "accepted",
                "reasons": ["corrupt"] if failed else [],
                "outcome": "failed" if failed else "embedded",
                "run_id": run_id,
                "embedded_at": BEGAN,
                "place": key,
                "vector": None if failed else vector.astype(np.float16),
            }
            for key, vector in zip(part.tolist(), vectors, strict=True)
        ]
        receipts.append(stage_rows(pa.Table.from_pylist(made, given.flight), {}, given.address, dataset))
    commit(given, *receipts)


def everything(folder: Path, version: int | str | None = None) -> list[dict[str, Any]]:
    """All rows in order, with Lance's row ids and the versions of the change feed."""
    hidden = ["_rowid", "_row_created_at_version", "_row_last_updated_at_version"]
    dataset = lance.dataset(uri(folder), version=version)
    found: list[dict[str, Any]] = dataset.to_table(columns=[*dataset.schema.names, *hidden]).to_pylist()
    return found


def indexes(report: MaintainReport) -> dict[str, tuple[str, int]]:
    return {index.name: (index.action, index.rows) for index in report.indexes}


def test_many_fragments_become_one_and_no_row_changes(tmp_path: Path) -> None:
    scattered(tmp_path)
    before, version = everything(tmp_path), lance.dataset(uri(tmp_path)).version
    report = maintain(uri(tmp_path))
    assert (report.fragments_before, report.fragments_after, report.rows) == (12, 1, len(before))
    assert everything(tmp_path) == before
    assert report.from_version == version < report.version == lance.dataset(uri(tmp_path)).version
    assert len(lance.dataset(uri(tmp_path)).get_fragments()) == 1
    assert assert_unique_ever(uri(tmp_path)) == report.version, "no version went: none is a week old"


def test_a_second_call_finds_nothing_to_do(tmp_path: Path) -> None:
    scattered(tmp_path)
    first = maintain(uri(tmp_path))
    tags = lance.dataset(uri(tmp_path)).tags.list()
    second = maintain(uri(tmp_path))
    assert second.from_version == second.version == first.version
    assert (second.fragments_before, second.fragments_after) == (1, 1)
    assert lance.dataset(uri(tmp_path)).tags.list() == tags


def test_a_lone_fragment_loses_its_removed_rows(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    commit(given, staged(given, *({"key": key} for key in range(20))))
    gone = lance.dataset(uri(tmp_path)).to_table(columns=[], with_row_address=True).column("_rowaddr").to_pylist()[:5]
    guarded_commit(given.address, given.address.images, lambda _: Change([], gone), {})
    kept = everything(tmp_path)
    report = maintain(uri(tmp_path))
    (fragment,) = lance.dataset(uri(tmp_path)).get_fragments()
    assert (fragment.physical_rows, report.rows) == (15, 15)
    assert everything(tmp_path) == kept
    assert maintain(uri(tmp_path)).version == report.version


def test_readers_open_the_tag_and_it_moves_with_the_next_call(tmp_path: Path) -> None:
    scattered(tmp_path, 3)
    first = maintain(uri(tmp_path))
    held = everything(tmp_path)
    scattered(tmp_path, 3, first=3)
    assert lance.dataset(uri(tmp_path), version="published").version == first.version
    assert everything(tmp_path, "published") == held
    second = maintain(uri(tmp_path))
    assert lance.dataset(uri(tmp_path), version="published").version == second.version
    assert everything(tmp_path, "published") == everything(tmp_path)


def test_a_tag_that_names_a_later_version_is_not_moved_back(tmp_path: Path) -> None:
    scattered(tmp_path, 2)
    given = assignment(tmp_path, "another")
    lance.dataset(uri(tmp_path)).tags.create("gold", 2)
    maintain(uri(tmp_path), tag="silver")
    assert {name: tag["version"] for name, tag in lance.dataset(uri(tmp_path)).tags.list().items()} == {
        "gold": 2,
        "silver": lance.dataset(given.address.images).version,
    }


def test_the_operation_has_its_row(tmp_path: Path) -> None:
    scattered(tmp_path, 2)
    report = maintain(uri(tmp_path), keep_days=3)
    (row,) = clipflow.open(uri(tmp_path)).sql("select * from runs where verb = 'maintain'")
    assert (row["run_id"], row["state"]) == (report.run_id, "done")
    assert (row["from_version"], row["to_version"]) == (report.from_version, report.version)
    assert json.loads(row["spec"])["keep_days"] == 3
    assert row["encoder_id"] == assignment(tmp_path, "x").info.encoder_id
    assert row["heartbeat_at"] >= row["started_at"]


def test_a_dry_run_says_what_a_run_then_does_and_writes_nothing(tmp_path: Path) -> None:
    scattered(tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    foreseen = maintain(uri(tmp_path), keep_days=0, indexes=[Wanted("content_sha256", "BTREE", 1)], dry_run=True)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == files
    assert foreseen.dry_run
    assert foreseen.run_id is None
    done = maintain(uri(tmp_path), keep_days=0, indexes=[Wanted("content_sha256", "BTREE", 1)])
    assert foreseen.fragments_after == done.fragments_after
    assert indexes(foreseen) == indexes(done) == {"content_sha256_idx": ("build", done.rows)}
    assert foreseen.versions_removed == done.versions_removed == 0


def test_old_versions_go_by_age_and_tagged_ones_stay(tmp_path: Path) -> None:
    scattered(tmp_path, 5)
    address, dataset = assignment(tmp_path, "x").address, lance.dataset(uri(tmp_path))
    dataset.tags.create("gold", 3)
    gold = everything(tmp_path, 3)
    report = maintain(uri(tmp_path), keep_days=0)
    assert (report.versions_removed, report.bytes_removed) == (0, 0), "none is an hour old"
    foreseen = foresee(lance.dataset(uri(tmp_path)), timedelta(microseconds=1))
    removed = clean_up(address, address.images, timedelta(0))
    assert removed.old_versions == foreseen.old_versions == report.version - 2
    assert removed.bytes_removed == foreseen.bytes_removed > 0
    assert [one["version"] for one in lance.dataset(uri(tmp_path)).versions()] == [3, report.version]
    assert everything(tmp_path, "gold") == gold
    assert maintain(uri(tmp_path)).version == report.version


def test_the_age_is_in_days_and_never_below_an_hour() -> None:
    assert age_of(7) == timedelta(days=7)
    assert age_of(0) == timedelta(hours=1)


def test_staged_files_of_a_living_run_outlast_the_clean_up(tmp_path: Path) -> None:
    scattered(tmp_path, 4)
    given = assignment(tmp_path, "late")
    waiting = staged(given, {"key": 1, "second": 99}, {"key": 77})
    maintain(uri(tmp_path))
    assert clean_up(given.address, given.address.images, timedelta(0)).old_versions > 0
    assert commit(given, waiting).outcomes == {"embedded": 2}
    found = rows(uri(tmp_path))
    assert found[f"{1:032x}"]["source_modified"] == BEGAN + timedelta(seconds=99)
    assert f"{77:032x}" in found


@pytest.mark.parametrize("keep_days", [0, 7])
def test_a_commit_that_was_decided_before_compaction_decides_again(tmp_path: Path, keep_days: int) -> None:
    scattered(tmp_path, 4)
    given = assignment(tmp_path, "stale")
    new = staged(given, {"key": 1, "second": 50})
    seen: list[int] = []

    def decide(dataset: lance.LanceDataset) -> Change:
        there = dataset.to_table(columns=[], filter=f"image_id = '{1:032x}'", with_row_address=True)
        if not seen:
            maintain(uri(tmp_path), keep_days=keep_days)
        seen.append(dataset.version)
        return Change(new.fragments, there.column("_rowaddr").to_pylist())

    before = len(rows(uri(tmp_path)))
    guarded_commit(given.address, given.address.images, decide, {})
    assert len(seen) == 2
    found = rows(uri(tmp_path))
    assert len(found) == before
    assert found[f"{1:032x}"]["run_id"] == "stale"
    assert_unique_ever(uri(tmp_path))


def test_an_operation_closed_by_another_changes_nothing_more(tmp_path: Path) -> None:
    scattered(tmp_path, 4)
    given = assignment(tmp_path, "mine")
    operation = Operation(given.address, given.record, RunReport("mine"))
    operation.open()
    with Operation(given.address, given.record, RunReport("mine", version=1)):
        pass
    version = lance.dataset(uri(tmp_path)).version
    with pytest.raises(OperationClosed):
        compact(given.address, given.address.images, operation.ensure_open)
    with pytest.raises(OperationClosed):
        bring_up_to_date(given.address, [Wanted("content_sha256", "BTREE", 1)], operation.ensure_open)
    assert lance.dataset(uri(tmp_path)).version == version


def test_indexes_are_built_once_and_follow_new_rows(tmp_path: Path) -> None:
    embedded(tmp_path, range(600), "a")
    built = maintain(uri(tmp_path), indexes=[BTREE, VECTORS])
    assert indexes(built) == {"content_sha256_idx": ("build", 600), "vector_idx": ("build", 600)}
    assert built.fragments_after == 1
    again = maintain(uri(tmp_path), indexes=[BTREE, VECTORS])
    assert again.version == built.version
    assert indexes(again) == {"content_sha256_idx": ("none", 0), "vector_idx": ("none", 0)}
    embedded(tmp_path, range(600, 660), "b", parts=2)
    more = maintain(uri(tmp_path), indexes=[BTREE, VECTORS])
    assert indexes(more) == {"content_sha256_idx": ("extend", 60), "vector_idx": ("extend", 60)}
    assert more.fragments_after == 1
    for index in lance.dataset(uri(tmp_path)).describe_indices():
        assert len(index.segments) == 1
        assert index.num_rows_indexed == 660
    assert maintain(uri(tmp_path), indexes=[BTREE, VECTORS]).version == more.version


def test_failed_rows_alone_do_not_stop_the_vector_index_or_compaction(tmp_path: Path) -> None:
    embedded(tmp_path, range(400), "a")
    maintain(uri(tmp_path), indexes=[VECTORS])
    embedded(tmp_path, range(400, 440), "b", parts=2, failed=True)
    report = maintain(uri(tmp_path), indexes=[VECTORS])
    assert [index.error for index in report.indexes] == [None]
    assert report.fragments_after == 1
    assert maintain(uri(tmp_path), indexes=[VECTORS]).version == report.version


def test_below_the_row_count_none_is_built_and_none_is_asked_for_with_no_index(tmp_path: Path) -> None:
    embedded(tmp_path, range(99), "a")
    assert maintain(uri(tmp_path), indexes=[BTREE, VECTORS]).indexes == []
    embedded(tmp_path, range(99, 400), "b")
    assert maintain(uri(tmp_path), indexes=None).indexes == []
    assert lance.dataset(uri(tmp_path)).describe_indices() == []


def test_an_index_of_the_user_follows_too(tmp_path: Path) -> None:
    embedded(tmp_path, range(50), "a")
    lance.dataset(uri(tmp_path)).create_scalar_index("job", "BITMAP", "mine")
    embedded(tmp_path, range(50, 60), "b")
    assert indexes(maintain(uri(tmp_path))) == {"mine": ("extend", 10)}
    assert maintain(uri(tmp_path)).fragments_after == 1


def test_an_index_that_fails_stops_neither_the_next_nor_the_rest(tmp_path: Path) -> None:
    embedded(tmp_path, range(120), "a")
    impossible = Wanted("source_uri", "RTREE", 100)  # for shapes on a plane
    report = maintain(uri(tmp_path), indexes=[impossible, BTREE])
    failed, built = report.indexes
    assert failed.error
    assert f"failed: {failed.error}" in report.text()
    assert (built.name, built.error) == ("content_sha256_idx", None)
    assert report.fragments_after == 1
    assert [index.name for index in lance.dataset(uri(tmp_path)).describe_indices()] == ["content_sha256_idx"]
    assert maintain(uri(tmp_path), indexes=[impossible, BTREE]).version == report.version


def test_a_vector_index_without_enough_rows_waits_for_more(tmp_path: Path) -> None:
    embedded(tmp_path, range(120), "a")
    lance.dataset(uri(tmp_path)).create_index("vector", "IVF_PQ", metric="cosine", num_sub_vectors=2)
    version = maintain(uri(tmp_path)).version
    assert maintain(uri(tmp_path)).version == version
    embedded(tmp_path, range(120, 400), "b")
    version = maintain(uri(tmp_path)).version
    (index,) = lance.dataset(uri(tmp_path)).describe_indices()
    assert index.num_rows_indexed == 400
    assert maintain(uri(tmp_path)).version == version


def test_an_index_that_the_table_outgrew_is_trained_anew(tmp_path: Path) -> None:
    embedded(tmp_path, range(300), "a", parts=1)
    maintain(uri(tmp_path), indexes=[VECTORS])
    embedded(tmp_path, range(300, 33_000), "b")
    report = maintain(uri(tmp_path), indexes=[VECTORS])
    assert indexes(report) == {"vector_idx": ("rebuild", 33_000)}
    after = maintain(uri(tmp_path), indexes=[VECTORS])
    assert after.version == report.version
    assert indexes(after) == {"vector_idx": ("none", 0)}


def nearest(folder: Path, query: np.ndarray, status: str, **how: Any) -> list[str]:
    found = lance.dataset(uri(folder)).to_table(
        columns=["image_id", "_distance"],
        filter=f"status = '{status}'",
        prefilter=True,
        nearest={"column": "vector", "q": query, "k": 8, "metric": "cosine", **how},
    )
    ids: list[str] = found.column("image_id").to_pylist()
    return ids


@pytest.mark.parametrize("status", ["accepted", "rejected"])
def test_readers_by_index_find_the_same_rows(tmp_path: Path, status: str) -> None:
    """All partitions asked and every candidate compared again: the index may not hide, revive or double a row."""
    embedded(tmp_path, range(500), "a")
    maintain(uri(tmp_path), indexes=[BTREE, VECTORS])
    embedded(tmp_path, range(490, 540), "b")  # ten of them replace nothing: their source is as old
    rng = np.random.default_rng(1)
    for extended in (False, True):
        if extended:
            maintain(uri(tmp_path), indexes=[BTREE, VECTORS])
        for _ in range(10):
            query = rng.standard_normal(16).astype(np.float16)
            exact = nearest(tmp_path, query, status, use_index=False)
            assert len(set(exact)) == 8
            assert nearest(tmp_path, query, status, nprobes=1000, refine_factor=100) == exact
        for key in (3, 495, 535):
            found = lance.dataset(uri(tmp_path)).to_table(["image_id"], filter=f"content_sha256 = '{key:064x}'")
            assert found.column("image_id").to_pylist() == [f"{key:032x}"]


def test_search_and_the_next_run_are_as_before(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(300))
    for name in ("a", "b"):
        (tmp_path / "images" / f"broken-{name}.png").write_bytes(b"no picture " + name.encode())
    spec = job(tmp_path / "images", uri(tmp_path), table={"commit_rows": 40})
    clipflow.run(spec, ray="none")
    asked = ("red", "a dark blue thing")
    before = [search(uri(tmp_path), text, k=20) for text in asked]
    report = maintain(uri(tmp_path), keep_days=0, indexes=[BTREE, Wanted("vector", "IVF_PQ", 256)])
    assert {index.action for index in report.indexes} == {"build"}
    assert [search(uri(tmp_path), text, k=20) for text in asked] == before
    again = clipflow.run(spec, ray="none").document()
    assert (again["unchanged"], again["version"]) == (302, report.version)
    # Known bytes are found by the index, and rows that it does not cover yet beside it.
    (tmp_path / "images" / "copy.png").write_bytes(picture(7))
    (tmp_path / "images" / "new.png").write_bytes(picture(999))
    more = clipflow.run(spec, ray="none").document()
    assert (more["reused"], more["embedded"]) == (1, 1)
    names = {hit["source_uri"].rpartition("/")[2] for hit in search(uri(tmp_path), "red", k=1000)}
    assert {"copy.png", "new.png"} <= names
    assert len(names) == 302


def test_the_runs_table_is_kept_small_too(tmp_path: Path) -> None:
    scattered(tmp_path, 40)
    held = {row["run_id"] for row in clipflow.open(uri(tmp_path)).sql("select run_id from runs")}
    report = maintain(uri(tmp_path), keep_days=0)
    runs = lance.dataset(str(tmp_path / "t_runs.lance"))
    assert len(runs.get_fragments()) < 5
    found = runs.to_table(["run_id", "state"]).to_pylist()
    assert {row["run_id"] for row in found} == {*held, report.run_id}
    assert {row["state"] for row in found} == {"done"}


def test_an_empty_table_is_maintained(tmp_path: Path) -> None:
    assignment(tmp_path, "a")
    report = maintain(uri(tmp_path))
    assert (report.rows, report.fragments_before, report.fragments_after, report.version) == (0, 0, 0, 1)
    assert lance.dataset(uri(tmp_path), version="published").version == 1


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"table": "none.lance"}, TableError, "There is no table"),
        ({"table": "t"}, TableError, "does not end in .lance"),
        ({"table": "t_runs.lance"}, TableError, "holds no images of clipflow"),
        ({"keep_days": -1}, UsageError, "keep_days is -1"),
        ({"tag": ""}, UsageError, "is no name of a tag"),
        ({"tag": "a/b"}, UsageError, "is no name of a tag"),
        ({"tag": "a..b"}, UsageError, "is no name of a tag"),
        ({"tag": "a.lock"}, UsageError, "is no name of a tag"),
    ],
)
def test_what_cannot_be_maintained_is_refused(
    tmp_path: Path, how: dict[str, Any], error: type[Exception], said: str
) -> None:
    scattered(tmp_path, 1)
    version = lance.dataset(uri(tmp_path)).version
    with pytest.raises(error, match=said):
        maintain(**{**how, "table": str(tmp_path / how.get("table", "t.lance"))})
    assert lance.dataset(uri(tmp_path)).version == version
    assert lance.dataset(uri(tmp_path)).tags.list() == {}


def test_the_verb_prints_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scattered(tmp_path, 3)
    words = ["maintain", uri(tmp_path), "--tag", "v1.0", "--keep-days", "0", "--no-index"]
    assert main([*words, "--dry-run"]) == 0
    assert "3 fragments, would be 1" in capsys.readouterr().out
    assert main([*words, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    document = json.loads(line)
    assert KEYS | {"versions_removed", "bytes_removed", "seconds", "dry_run"} == set(document)
    assert (document["tag"], document["fragments_before"], document["fragments_after"]) == ("v1.0", 3, 1)
    assert lance.dataset(uri(tmp_path), version="v1.0").version == document["version"]
    assert main(words) == 0
    assert f"version {document['version']}, tagged v1.0" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["none.lance"], ["t.lance", "--keep-days", "x"], ["t.lance", "--tag", "a b"]])
def test_a_wrong_call_ends_with_two_and_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    scattered(tmp_path, 1)
    assert main(["maintain", str(tmp_path / words[0]), *words[1:], "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["retryable"] is False
    assert len(err.splitlines()) == 1


def test_on_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch)
    s3.make_bucket("maintain")
    for number in range(30):
        s3.put(f"images/{number}.png", picture(number), "maintain")
    table = "s3://maintain/lake/t.lance"
    clipflow.run(job("s3://maintain/images/", table, table={"commit_rows": 5}), ray="none")
    before = search(table, "red", k=30)
    report = maintain(table, keep_days=0, indexes=[Wanted("content_sha256", "BTREE", 10)])
    assert (report.fragments_after, report.rows) == (1, 30)
    assert report.fragments_before > 1
    assert indexes(report) == {"content_sha256_idx": ("build", 30)}
    assert search(table, "red", k=30) == before
    options = Storage().lance_options(table)
    assert lance.dataset(table, version="published", storage_options=options).version == report.version
    again = maintain(table, keep_days=0, indexes=[Wanted("content_sha256", "BTREE", 10)])
    assert again.version == report.version
    assert clean_up(TableAddress.of(table), table, timedelta(0)).old_versions == report.version - 1
    assert search(table, "red", k=30) == before
    given = clipflow.open(table).sql("select state from runs where verb = 'maintain'")
    assert [row["state"] for row in given] == ["done", "done"]
