"""Rows of parquet: text from every type that holds text, numbers and times in one spelling, the rest refused."""

import base64
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet
from pyarrow.parquet import encryption

from clipflow.source.rows.cells import LONGEST_TEXT
from tests.source.rows.read import cells, listed, refused, write


def table(**columns: object) -> pa.Table:
    return pa.table({"uri": ["a", "b"], **columns})


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()),
        *(pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.binary())),
    ],
    ids=str,
)
def test_every_type_of_text_is_text(tmp_path: Path, kind: pa.DataType) -> None:
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = ["ein Hünd\0", None, "", "ein Hünd\0"]
    given = [one and one.encode() for one in texts] if "binary" in str(plain) else texts
    column = pa.array(given, plain)
    column = column.dictionary_encode().cast(kind) if plain is not kind else column
    uris = pa.array([b"a", b"b", b"c", b"d"])
    found = cells(write(tmp_path / "m.parquet", pa.table({"uri": uris, "caption": column, "who": column})))
    assert found == [{"uri": u, "caption": one, "who": one} for u, one in zip("abcd", texts, strict=True)]


NOT_TEXT = [
    *(pa.array([None, 5]), pa.array([None, 5.5]), pa.array([None, float("nan")]), pa.array([None, True])),
    *(pa.array([None, datetime(2026, 1, 1)]), pa.array([None, date(2026, 1, 1)]), pa.array([None, Decimal("1.5")])),
]
NO_VALUE = [
    *(pa.array([None, ["a dog"]]), pa.array([None, []]), pa.array([None, {"en": "a"}])),
    *(pa.array([None, [("a", 1)]], pa.map_(pa.string(), pa.int64())), pa.array([None, timedelta(1)])),
    *(pa.array([None, b"1234"], pa.binary(4)), pa.array([None, ["a"]], pa.large_list(pa.string()))),
    pa.ExtensionArray.from_storage(pa.uuid(), pa.array([None, b"0123456789abcdef"], pa.binary(16))),
]


@pytest.mark.parametrize("column", [*NOT_TEXT, *NO_VALUE], ids=lambda one: str(one.type))
def test_what_is_no_text_is_refused_with_row_and_column(tmp_path: Path, column: pa.Array) -> None:
    assert "'caption'" in refused(write(tmp_path / "m.parquet", table(caption=column)), "Row 2")
    assert "'uri'" in refused(write(tmp_path / "m.parquet", pa.table({"uri": column.take([1, 0])})), "Row 1")
    if any(column is one for one in NO_VALUE):
        assert "'who'" in refused(write(tmp_path / "m.parquet", table(who=column)), "Row 2")
    # A column without a value says nothing that could be wrong.
    empty = table(caption=pa.nulls(2, column.type))
    assert [row["caption"] for row in cells(write(tmp_path / "m.parquet", empty))] == [None, None]


@pytest.mark.parametrize(
    ("column", "texts", "cast"),
    [
        (pa.array([7, -1], pa.int8()), ["7", "-1"], "TINYINT"),
        (pa.array([2**64 - 1, 0], pa.uint64()), ["18446744073709551615", "0"], "UBIGINT"),
        (pa.array([1.0, 1e300]), ["1.0", "1e+300"], "DOUBLE"),
        (pa.array([0.1, 16777216.0], pa.float32()), ["0.1", "16777216.0"], "FLOAT"),
        (pa.array([float("nan"), float("-inf")]), ["nan", "-inf"], "DOUBLE"),
        (pa.array([True, False]), ["true", "false"], "BOOLEAN"),
        (pa.array([date(2026, 11, 2), None]), ["2026-11-02", None], "DATE"),
        (pa.array([0, 86_400_000], pa.date64()), ["1970-01-01", "1970-01-02"], "DATE"),
        (pa.array([time(1, 2, 3), time(1, 2, 3, 400_000)]), ["01:02:03", "01:02:03.4"], "TIME"),
        (pa.array([Decimal("1.50"), Decimal(0)]), ["1.50", "0.00"], "DECIMAL(3, 2)"),
        (pa.array([0, 1_500_000], pa.timestamp("us")), ["1970-01-01T00:00:00Z", "1970-01-01T00:00:01.5Z"], "TIMESTAMP"),
        (
            pa.array([0, 1], pa.timestamp("ns", "Europe/Berlin")),
            ["1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000001Z"],
            "TIMESTAMP_NS",
        ),
        (pa.array([None, 60], pa.timestamp("s", "No/Such")), [None, "1970-01-01T00:01:00Z"], "TIMESTAMP"),
        (pa.array(["x", "y"]).dictionary_encode(), ["x", "y"], "VARCHAR"),
        (pa.array([5, 5]).dictionary_encode(), ["5", "5"], "BIGINT"),
    ],
    ids=lambda one: str(one.type) if isinstance(one, pa.Array) else "",
)  # fmt: skip
def test_attributes_have_one_spelling_that_sql_reads_back(
    tmp_path: Path, column: pa.Array, texts: list[str | None], cast: str
) -> None:
    path = write(tmp_path / "m.parquet", table(who=column))
    found = listed(path, attributes=("who",))
    assert [row["attr_who"] for row in found] == texts
    spelt = pa.table({"attr_who": [row["attr_who"] for row in found]})
    with duckdb.connect() as db:
        db.register("spelt", spelt)
        (same,) = db.execute(
            f"SELECT bool_and(attr_who::{cast} IS NOT DISTINCT FROM who::{cast}) "
            f"FROM spelt POSITIONAL JOIN read_parquet('{path}')"
        ).fetchone() or (None,)
    assert same


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_a_time_that_no_calendar_holds_is_named(tmp_path: Path, unit: str) -> None:
    far = pa.array([0, 9 * 10**14], pa.timestamp(unit))
    refused(write(tmp_path / "m.parquet", table(who=far)), "Row 2")


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    wrong = pa.array([b"x", b"caf\xe9"])
    as_text = pa.Array.from_buffers(pa.string(), 2, wrong.buffers())
    for column in (wrong, as_text, wrong.dictionary_encode()):
        for name in ("uri", "caption", "who"):
            assert repr(name) in refused(write(tmp_path / "m.parquet", table(**{name: column})), "Row 2")


def test_long_texts_are_refused_and_long_rows_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    for text in ("x" * (LONGEST_TEXT + 1), "é" * (LONGEST_TEXT + 1), "x" * 50_000_000):
        assert f"{LONGEST_TEXT:,}" in refused(write(tmp_path / "m.parquet", table(caption=["y", text])), "Row 2")
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), ["x" * 500_000])
    refused(write(tmp_path / "m.parquet", pa.table({"uri": ["a"] * 3000, "who": many})), "Row 1")
    assert cells(write(tmp_path / "m.parquet", table(caption=["é" * LONGEST_TEXT] * 2)))[1]["caption"][-1] == "é"
    parquet.write_table(pa.table({"uri": [str(at) for at in range(9000)]}), tmp_path / "m.parquet", row_group_size=4500)
    assert [row["uri"] for row in cells(tmp_path / "m.parquet")] == [str(at) for at in range(9000)]


def test_names_of_columns(tmp_path: Path) -> None:
    odd = {"uri": ["a"], "uri.old": ["b"], "caption.en": ["c"], "caption": [{"en": "d"}], "": ["e"], "é\x1b": ["f"]}
    path = write(tmp_path / "m.parquet", pa.table(odd))
    wanted = ("caption.en", "uri.old", "", "é\x1b")
    assert cells(path, dict.fromkeys(wanted, "text")) == [dict(zip(wanted, "cbef", strict=True))]
    assert cells(path, {"uri": "text"}) == [{"uri": "a"}]
    refused(path, "Row 1", {"caption": "text"})
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], ["uri", "who", "who"])
    assert "twice" in refused(write(path, twice), "'who'")
    assert cells(path, {"uri": "text"}) == [{"uri": "a"}]


def test_files_that_are_empty_cut_or_locked(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    with parquet.ParquetWriter(path, table().schema):
        pass
    assert cells(path) == []
    whole = write(path, table(caption=["é" * 20_000, "y" * 9_000])).read_bytes()
    for cut in (whole[:-1], whole[: len(whole) // 2], whole[:200] + whole[300:], whole[:4], b"", b"PAR1PAR1"):
        refused(write(path, cut), "cannot be parsed")


class _Keys(encryption.KmsClient):  # type: ignore[misc]
    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return base64.b64encode(key_bytes)

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return base64.b64decode(wrapped_key)


@pytest.mark.parametrize("plain", [True, False])
def test_an_encrypted_file_is_refused(tmp_path: Path, plain: bool) -> None:
    setting = encryption.EncryptionConfiguration("f", column_keys={"c": ["caption"]}, plaintext_footer=plain)
    properties = encryption.CryptoFactory(lambda _: _Keys()).file_encryption_properties(
        encryption.KmsConnectionConfig(), setting
    )
    with parquet.ParquetWriter(
        tmp_path / "m.parquet", table(caption=["a", "b"]).schema, encryption_properties=properties
    ) as w:
        w.write_table(table(caption=["a", "b"]))
    refused(tmp_path / "m.parquet", "cannot be parsed")
