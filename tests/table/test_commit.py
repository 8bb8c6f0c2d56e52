"""The rules of a commit, one by one: who wins, who is forgotten, what may not happen."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from lance.commit import CommitConflictError

from clipflow.errors import OperationClosed, PolicyChanged, StagedFilesGone
from clipflow.report import RunReport
from clipflow.schema import FORGOTTEN
from clipflow.table.commit import Committer
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.images import open_images
from clipflow.table.runs import Operation
from tests.catalogues import assert_unique_ever, rows
from tests.table.staging import BEGAN, assignment, commit, staged

KEY = f"{1:032x}"


def table(folder: Path) -> Path:
    return folder / "t.lance"


def test_a_row_that_planning_saw_is_replaced_in_the_same_version(tmp_path: Path) -> None:
    commit(assignment(tmp_path, "a"), staged(assignment(tmp_path, "a"), {"key": 1, "second": 9}, {"key": 2}))
    before = lance.dataset(str(table(tmp_path))).version
    given = assignment(tmp_path, "b")
    # An older date: a file restored from a backup is what the source holds now.
    landed = commit(given, staged(given, {"key": 1, "second": 3, "prior": "a"}))
    assert landed.version == before + 1
    assert landed.outcomes == {"embedded": 1}
    found = rows(table(tmp_path))
    assert len(found) == 2
    assert found[KEY]["source_modified"] == BEGAN + timedelta(seconds=3)


@pytest.mark.parametrize(
    ("late", "wins"),
    [
        ({"second": 6, "at": 0}, True),
        ({"second": 5, "at": 8}, True),
        ({"second": 5, "at": 7}, False),
        ({"second": 4, "at": 9}, False),
    ],
)
def test_of_two_writers_the_newer_source_then_the_newer_vector_stays(
    tmp_path: Path, late: dict[str, int], wins: bool
) -> None:
    first, second = assignment(tmp_path, "a"), assignment(tmp_path, "b")
    commit(first, staged(first, {"key": 1, "second": 5, "at": 7}))
    version = open_images(first.address).version
    landed = commit(second, staged(second, {"key": 1, **late}))
    assert rows(table(tmp_path))[KEY]["run_id"] == ("b" if wins else "a")
    assert landed.outcomes == ({"embedded": 1} if wins else {"unchanged": 1})
    assert landed.version == version + wins


def test_a_passing_failure_never_replaces_a_vector_and_a_final_one_does(tmp_path: Path) -> None:
    first = assignment(tmp_path, "a")
    commit(first, staged(first, {"key": 1}))
    passing, final = assignment(tmp_path, "b"), assignment(tmp_path, "c")
    landed = commit(passing, staged(passing, {"key": 1, "second": 9, "code": "timeout", "prior": "a"}))
    assert landed.outcomes == {"failed": 1}
    assert landed.reasons == {"timeout": 1}
    assert rows(table(tmp_path))[KEY]["status"] == "accepted"
    commit(final, staged(final, {"key": 1, "second": 9, "code": "corrupt", "prior": "a"}))
    assert rows(table(tmp_path))[KEY]["reasons"] == ["corrupt"]


def test_a_vector_beats_a_passing_failure_of_the_same_source_that_came_later(tmp_path: Path) -> None:
    first, second = assignment(tmp_path, "a"), assignment(tmp_path, "b")
    commit(first, staged(first, {"key": 1, "second": 5, "at": 9, "code": "timeout"}))
    landed = commit(second, staged(second, {"key": 1, "second": 5, "at": 3}))
    assert landed.outcomes == {"embedded": 1}
    assert rows(table(tmp_path))[KEY]["status"] == "accepted"


def test_losers_and_winners_of_one_fragment_part_ways(tmp_path: Path) -> None:
    first, second = assignment(tmp_path, "a"), assignment(tmp_path, "b")
    commit(first, staged(first, {"key": 1, "second": 5}, {"key": 2, "second": 5}))
    landed = commit(second, staged(second, {"key": 1, "second": 4}, {"key": 2, "second": 6}, {"key": 3}))
    assert landed.outcomes == {"unchanged": 1, "embedded": 2}
    assert {row["run_id"] for row in rows(table(tmp_path)).values()} == {"a", "b"}
    assert rows(table(tmp_path))[KEY]["run_id"] == "a"


def test_an_image_staged_twice_by_one_run_lands_and_counts_once(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    landed = commit(given, staged(given, {"key": 1}), staged(given, {"key": 1, "at": 5}))
    assert landed.outcomes == {"embedded": 1}
    assert len(rows(table(tmp_path))) == 1


def forget(folder: Path, kind: str, value: str) -> None:
    tombstone = pa.Table.from_pylist([{"hash": value, "kind": kind}], FORGOTTEN)
    lance.write_dataset(tombstone, str(folder / "t_forgotten.lance"))


@pytest.mark.parametrize(("kind", "value"), [("uri", KEY), ("sha256", f"{77:064x}")])
def test_what_was_forgotten_does_not_return(tmp_path: Path, kind: str, value: str) -> None:
    given = assignment(tmp_path, "a")
    waiting = staged(given, {"key": 1, "bytes": 77}, {"key": 2})
    forget(tmp_path, kind, value)
    landed = commit(given, waiting)
    assert landed.outcomes == {"forgotten": 1, "embedded": 1}
    assert KEY not in rows(table(tmp_path))


def review(folder: Path, given_verdict: str) -> None:
    """A human's verdict, written through the guarded commit as the review verb will."""
    given = assignment(folder, "reviewer")
    dataset = open_images(given.address)
    row = dataset.to_table(with_row_address=True)
    address = row.column("_rowaddr").to_pylist()
    values = {"reviewed_verdict": given_verdict, "reviewed_by": "ann", "status": given_verdict}
    plain = row.drop_columns(["_rowaddr"]).to_pylist()[0] | values
    schema = dataset.schema.remove_metadata()
    fragments = lance.fragment.write_fragments(pa.Table.from_pylist([plain], schema), given.address.images, schema)
    guarded_commit(given.address, given.address.images, lambda _: Change(fragments, address), {})


@pytest.mark.parametrize("same", [True, False])
def test_a_human_verdict_is_handed_over_with_the_same_bytes_only(tmp_path: Path, same: bool) -> None:
    first, second = assignment(tmp_path, "a"), assignment(tmp_path, "b")
    commit(first, staged(first, {"key": 1, "bytes": 5}))
    review(tmp_path, "rejected")
    landed = commit(second, staged(second, {"key": 1, "second": 9, "bytes": 5 if same else 6, "prior": "a"}))
    row = rows(table(tmp_path))[KEY]
    assert row["run_id"] == "b"
    assert (row["status"], row["reviewed_by"]) == (("rejected", "ann") if same else ("accepted", None))
    assert landed.statuses == {row["status"]: 1}


def test_a_changed_policy_stops_the_run(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    waiting = staged(given, {"key": 1})
    open_images(given.address).update_schema_metadata({"policy_id": "another"})
    with pytest.raises(PolicyChanged) as caught:
        commit(given, waiting)
    assert caught.value.retryable
    assert rows(table(tmp_path)) == {}


def test_a_closed_operation_commits_nothing_more(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    waiting = staged(given, {"key": 1})
    operation = Operation(given.address, given.record, RunReport(given.run_id))
    operation.open()
    with Operation(given.address, given.record, RunReport(given.run_id, version=1)):
        pass
    with pytest.raises(OperationClosed):
        Committer(given, operation).commit([waiting])
    assert rows(table(tmp_path)) == {}


def test_rows_staged_before_a_new_column_land_with_nulls(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    waiting = staged(given, {"key": 1})
    open_images(given.address).add_columns([pa.field("attr_late", pa.string())])
    commit(given, waiting)
    assert rows(table(tmp_path))[KEY]["attr_late"] is None


def test_rows_staged_for_other_types_are_staged_again(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    waiting = staged(given, {"key": 1}, {"key": 2})
    wider: Any = {"path": "attempts", "data_type": pa.int64()}
    open_images(given.address).alter_columns(wider)
    landed = commit(given, waiting)
    assert landed.outcomes == {"embedded": 2}
    assert rows(table(tmp_path))[KEY]["source_uri"] == "file:///1"


def test_missing_staged_files_stop_the_commit_before_they_break_the_table(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    waiting = staged(given, {"key": 1})
    for file in (table(tmp_path) / "data").iterdir():
        file.unlink()
    with pytest.raises(StagedFilesGone):
        commit(given, waiting)
    assert rows(table(tmp_path)) == {}


def test_an_emptied_table_takes_rows_again(tmp_path: Path) -> None:
    first = assignment(tmp_path, "a")
    commit(first, staged(first, {"key": 1}))
    every = open_images(first.address).to_table(columns=[], with_row_address=True).column("_rowaddr").to_pylist()
    guarded_commit(first.address, first.address.images, lambda _: Change([], every), {})
    assert rows(table(tmp_path)) == {}
    second = assignment(tmp_path, "b")
    commit(second, staged(second, {"key": 1}))
    assert rows(table(tmp_path))[KEY]["run_id"] == "b"


def data_files(folder: Path) -> set[str]:
    return {path.name for path in (folder / "t.lance" / "data").iterdir()}


def test_staged_files_that_no_version_names_go(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    commit(given, staged(given, {"key": 1, "second": 5}))
    there = data_files(tmp_path)
    later = assignment(tmp_path, "b")
    older, mixed = staged(later, {"key": 1}), staged(later, {"key": 1, "second": 2}, {"key": 2})
    commit(later, older, mixed)
    left = {file.path for part in lance.dataset(str(table(tmp_path))).get_fragments() for file in part.metadata.files}
    assert data_files(tmp_path) == left
    assert there < left


def test_a_receipt_that_comes_twice_keeps_its_files(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    receipt = staged(given, {"key": 1})
    with Operation(given.address, given.record, RunReport(given.run_id)) as operation:
        operation.open()
        committer = Committer(given, operation)
        assert committer.commit([receipt, receipt]).outcomes == {"embedded": 1}
        assert committer.commit([receipt]).outcomes == {}
    assert len(rows(table(tmp_path))) == 1


def test_a_stage_that_ran_twice_lands_once_whatever_the_parts(tmp_path: Path) -> None:
    given = assignment(tmp_path, "a")
    first, second = staged(given, {"key": 1}, {"key": 2}), staged(given, {"key": 2}, {"key": 3})
    with Operation(given.address, given.record, RunReport(given.run_id)) as operation:
        operation.open()
        committer = Committer(given, operation)
        assert committer.commit([first]).outcomes == {"embedded": 2}
        assert committer.commit([second]).outcomes == {"embedded": 1}
    assert len(rows(table(tmp_path))) == 3


@pytest.mark.parametrize("answer", [CommitConflictError("Retryable commit conflict"), OSError("connection reset")])
def test_a_commit_whose_answer_is_lost_lands_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Exception
) -> None:
    given = assignment(tmp_path, "a")
    commits = lance.LanceDataset.commit
    lost = 0

    def lose(uri: str, *args: Any, **options: Any) -> Any:
        nonlocal lost
        done = commits(uri, *args, **options)
        if str(uri) == str(given.address.images) and not lost:
            lost += 1
            raise answer
        return done

    with Operation(given.address, given.record, RunReport(given.run_id)) as operation:
        operation.open()
        committer = Committer(given, operation)
        committer.commit([staged(given, {"key": 0})])
        monkeypatch.setattr(lance.LanceDataset, "commit", staticmethod(lose))
        assert committer.commit([staged(given, {"key": 1}, {"key": 2})]).outcomes == {"embedded": 2}
        assert committer.commit([staged(given, {"key": 3})]).outcomes == {"embedded": 1}
    assert lost == 1
    assert len(rows(table(tmp_path))) == 4
    assert_unique_ever(str(table(tmp_path)))
