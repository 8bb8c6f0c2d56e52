"""SQL sees `images` and `runs`, as typed values, and nothing else of the machine."""

import json
from datetime import UTC, datetime
from pathlib import Path

import lance
import pytest

from clipflow.documents import to_json
from clipflow.errors import QueryError, TableError
from clipflow.query.sql import sql
from tests.query.conftest import Filled


def test_counts_by_status(filled: Filled) -> None:
    rows = sql(filled.uri, "select status, count(*) as n from images group by all")
    assert {row["status"]: row["n"] for row in rows} == {
        "accepted": filled.accepted,
        "rejected": filled.rejected,
        "failed": filled.failed,
    }


def test_values_have_their_types(filled: Filled) -> None:
    (row,) = sql(filled.uri, "select * from images where ends_with(source_uri, '/small20.png')")
    assert (row["width"], row["min_side"], row["reasons"]) == (20, 20.0, ["too_small"])
    assert isinstance(row["embedded_at"], datetime)
    assert row["embedded_at"].utcoffset() == UTC.utcoffset(None)
    assert (row["caption"], row["interval_start"]) == (None, None)
    assert json.loads(to_json(row))["embedded_at"].endswith("Z")


def test_vectors_can_be_read_and_reckoned_with(filled: Filled) -> None:
    stored = {
        row["image_id"]: row["vector"] for row in lance.dataset(filled.uri).to_table(["image_id", "vector"]).to_pylist()
    }
    rows = sql(filled.uri, "select image_id, vector, array_inner_product(vector, vector) as s from images")
    assert len(rows) == filled.accepted + filled.rejected + filled.failed
    for row in rows:
        assert row["vector"] == stored[row["image_id"]]
        assert row["s"] is None if row["vector"] is None else row["s"] == pytest.approx(1, abs=5e-3)
    assert sum(row["vector"] is None for row in rows) == filled.failed


def test_conditions_on_vectors(filled: Filled) -> None:
    (row,) = sql(filled.uri, "select count(*) as n from images where vector is not null")
    assert row["n"] == filled.accepted + filled.rejected
    (row,) = sql(filled.uri, "select min(status) as s, count(*) as n from images where vector is null and status > 'a'")
    assert row == {"s": "failed", "n": filled.failed}


def test_columns_and_conditions_reach_the_table(filled: Filled) -> None:
    rows = sql(filled.uri, "select vector[1] as first, status from images where status = 'rejected' and width = 20")
    assert len(rows) == filled.rejected
    assert all(isinstance(row["first"], float) for row in rows)


def test_runs_stand_beside_the_images(filled: Filled) -> None:
    runs = sql(filled.uri, "select verb, state, listed, embedded, failed, to_version from runs order by started_at")
    assert [(run["verb"], run["state"], run["listed"], run["embedded"], run["failed"]) for run in runs] == [
        ("run", "done", 10, 10, 0),
        ("run", "done", 19, 7, 2),
    ]
    assert runs[0]["to_version"] == filled.first
    joined = sql(filled.uri, "select count(*) as n from images join runs using (run_id) where runs.verb = 'run'")
    assert joined == [{"n": 19}]


def test_a_table_without_runs_can_still_be_asked(filled: Filled, tmp_path: Path) -> None:
    alone = tmp_path / "alone.lance"
    lance.write_dataset(lance.dataset(filled.uri).to_table(), str(alone))
    assert sql(str(alone), "select count(*) as n from runs") == [{"n": 0}]


@pytest.mark.parametrize(
    "statement",
    [
        "",
        "select 1; select 2",
        "create table t (a int)",
        "insert into runs (verb) values ('run')",
        "delete from images",
        "drop view images",
        "attach 'other.db'",
        "copy images to 'out.csv'",
        "copy (select 1) to '/dev/stdout'",
        "install httpfs",
        "load httpfs",
        "set threads = 1",
        "reset lock_configuration",
        "pragma database_list",
        "call pragma_version()",
        "use memory",
        "export database 'out'",
    ],
)
def test_only_one_select_is_answered(filled: Filled, statement: str) -> None:
    with pytest.raises(QueryError, match="Only one SELECT statement is answered"):
        sql(filled.uri, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_csv('{file}')",
        "select * from read_text('{file}')",
        "select * from read_blob('{file}')",
        "select * from '{file}'",
        "from glob('{folder}/*')",
        "select * from parquet_scan('{file}')",
        "select * from 'https://example.com/a.csv'",
        "select getenv('HOME')",
        "select * from duckdb_secrets()",
        "explain analyze copy images to '{folder}/out.csv'",
    ],
)
def test_the_rest_of_the_machine_is_out_of_reach(filled: Filled, tmp_path: Path, statement: str) -> None:
    file = tmp_path / "secret.csv"
    file.write_text("a,b\n1,2\n")
    with pytest.raises(QueryError, match="DuckDB refuses the statement") as caught:
        sql(filled.uri, statement.format(file=file, folder=tmp_path))
    assert "1,2" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]


def test_python_s_own_variables_are_out_of_reach(filled: Filled) -> None:
    # A variable of the function that asks DuckDB, where DuckDB would look for a table of that name.
    with pytest.raises(QueryError, match="address does not exist"):
        sql(filled.uri, "select * from address")


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("select nope from images", "nope"),
        ("selec 1", "syntax error"),
        ("select 1/'a'", "Could not convert"),
        ("select timestamp '290000-01-10'", "Cast it to VARCHAR"),
    ],
)
def test_a_statement_that_fails_is_one_sentence(filled: Filled, statement: str, said: str) -> None:
    with pytest.raises(QueryError, match=said) as caught:
        sql(filled.uri, statement)
    assert "\n" not in str(caught.value)


def test_there_must_be_a_table(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="There is no table"):
        sql(str(tmp_path / "none.lance"), "select 1")
    assert list(tmp_path.iterdir()) == []
