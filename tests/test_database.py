"""DuckDB behind closed doors: neither files nor the machine's settings are seen, from no cursor."""

import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from clipflow.database import closed_database


@pytest.fixture
def _in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_in_tokyo")
def test_times_are_in_utc_wherever_the_machine_stands() -> None:
    with duckdb.connect() as open_one:
        assert open_one.execute("select current_setting('TimeZone')").fetchone() == ("Asia/Tokyo",)
    with closed_database() as database, database.cursor() as cursor:
        for one in (database, cursor):
            assert one.execute("select hour('2026-01-01T00:00:00Z'::timestamptz)").fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "select * from read_text('{path}')",
        "select * from '{path}'",
        "copy (select 1) to '{path}'",
        "attach '{path}' as other",
        "install httpfs",
        "set enable_external_access = true",
        "set TimeZone = 'Asia/Tokyo'",
        "select * from a_list_of_this_process",
    ],
)
def test_no_statement_opens_a_door(tmp_path: Path, statement: str) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    a_list_of_this_process = [{"a": 1}]
    assert a_list_of_this_process
    with closed_database(threads=1) as database, database.cursor() as cursor:
        for one in (database, cursor):
            with pytest.raises(duckdb.Error):
                one.execute(statement.format(path=tmp_path / "secret.csv"))
    assert (tmp_path / "secret.csv").read_text() == "a\n1\n"
