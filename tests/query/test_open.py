"""`clipflow.open`: one object to read a table with."""

from pathlib import Path

import pytest

import clipflow
from clipflow.errors import TableError
from tests.catalogues import draw, job
from tests.query.conftest import Filled


def test_a_table_answers_in_python(filled: Filled) -> None:
    table = clipflow.open(filled.uri)
    assert table.images.count_rows() == 19
    assert {"schema_version", "encoder_id", "encoder", "policy_id", "policy"} <= set(table.metadata)
    assert [hit["status"] for hit in table.search("red", k=2)] == ["accepted", "accepted"]
    assert table.sql("select count(*) as n from images") == [{"n": 19}]


def test_a_table_is_at_its_latest_version_whenever_it_is_asked(tmp_path: Path) -> None:
    spec = job(tmp_path / "images", tmp_path / "t.lance")
    draw(tmp_path / "images", range(2))
    clipflow.run(spec, ray="none")
    table = clipflow.open(tmp_path / "t.lance")
    assert table.sql("select count(*) as n from images") == [{"n": 2}]
    draw(tmp_path / "images", range(3))
    clipflow.run(spec, ray="none")
    assert table.images.count_rows() == 3
    assert table.sql("select count(*) as n from images") == [{"n": 3}]
    assert len(table.search("red")) == 3


def test_a_missing_table_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="There is no table"):
        clipflow.open(tmp_path / "none.lance")
