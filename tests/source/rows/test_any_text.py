"""Whatever the text: a table that is written and read is the same table, or the error names a line."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv as arrow_csv

from clipflow.errors import SourceError
from tests.examples import examples
from tests.source.rows.read import cells, write

COLUMNS = ("uri", "caption", "who")
AWKWARD = [
    '"',
    '""',
    "\\",
    '\\"',
    ",",
    ", ",
    "\n",
    "\r",
    "\r\n",
    "\t",
    " ",
    "'",
    ";",
    "\0",
    "\ufeff",
    "\u2028",
    "é",
    "😀",
    "a",
    "#",
]
texts = st.lists(st.sampled_from(AWKWARD) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=6)
text = texts.map("".join)
rows = st.lists(st.tuples(text.filter(bool), st.none() | text, st.none() | text), min_size=1, max_size=6)
Rows = list[tuple[str | None, ...]]


def read(path: Path) -> Rows:
    return [tuple(row.get(name) for name in COLUMNS) for row in cells(path)]


def same_or_named(path: Path, written: Rows, *, sure: bool = False) -> None:
    """The rows as they were written; or, where that is not sure, an error that names the line."""
    found, error = outcome(path)
    if error:
        assert not sure, error
        assert re.search(r"[Ll]ine \d+ of", error)
    else:
        assert found == written


def outcome(path: Path) -> tuple[Rows, str]:
    """The rows, or what the error says."""
    try:
        return read(path), ""
    except SourceError as error:
        return [], str(error)


def empty_as_null(table: Rows) -> Rows:
    return [tuple(cell or None for cell in row) for row in table]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rows")


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@given(table=rows)
@examples(60)
def test_csv_as_python_writes_it(folder: Path, end: str, quoting: Any, table: Rows) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end, quoting=quoting).writerows([COLUMNS, *table])
    path = write(folder / "m.csv", file.getvalue())
    same_or_named(path, empty_as_null(table), sure=quoting == csv.QUOTE_ALL and '\\"' not in file.getvalue())


@given(table=rows)
@examples(60)
def test_csv_as_arrow_writes_it(folder: Path, table: Rows) -> None:
    arrow_csv.write_csv(
        pa.table(dict(zip(COLUMNS, map(list, zip(*table, strict=True)), strict=True))), folder / "m.csv"
    )
    sure = b'\\"' not in (folder / "m.csv").read_bytes()
    same_or_named(folder / "m.csv", empty_as_null(table), sure=sure)


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@given(table=rows)
@examples(60)
def test_csv_with_quotes_that_a_backslash_escapes(folder: Path, quoting: Any, table: Rows) -> None:
    # A backslash that escapes another looks like two: only files without such can be told from others.
    table = [tuple(cell and cell.replace("\\", "/") for cell in row) for row in table]
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n", quoting=quoting, doublequote=False, escapechar="\\").writerows(
        [COLUMNS, *table]
    )
    same_or_named(
        write(folder / "m.csv", file.getvalue()),
        empty_as_null(table),
        sure=quoting == csv.QUOTE_ALL and "\\" not in file.getvalue(),
    )


@given(table=rows)
@examples(60)
def test_jsonl(folder: Path, table: Rows) -> None:
    for ascii_only in (True, False):
        lines = [json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=ascii_only) for row in table]
        same_or_named(write(folder / "m.jsonl", "\n".join(lines)), table, sure=True)


@given(table=rows, kind=st.sampled_from([pa.string(), pa.large_string(), pa.string_view(), pa.large_binary()]))
@examples(60)
def test_parquet(folder: Path, table: Rows, kind: pa.DataType) -> None:
    binary = pa.types.is_large_binary(kind)
    columns = [
        [one.encode() if one is not None and binary else one for one in column] for column in zip(*table, strict=True)
    ]
    arrays = [pa.array(column, kind) for column in columns]
    same_or_named(write(folder / "m.parquet", pa.table(arrays, names=COLUMNS)), table, sure=True)


@given(content=st.binary(max_size=60))
@examples(100)
def test_any_bytes_are_rows_or_an_error_of_ours(folder: Path, content: bytes) -> None:
    for name, head in (("m.csv", b"uri,caption\n"), ("m.jsonl", b'{"uri": "a"}\n'), ("m.csv", b""), ("m.jsonl", b"")):
        _, error = outcome(write(folder / name, head + content))
        assert not error or error.isprintable()


@given(table=rows, end=st.sampled_from(["\n", "\r\n"]))
@examples(8)
def test_a_file_cut_at_any_byte_loses_no_part_of_a_row_in_silence(folder: Path, table: Rows, end: str) -> None:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([COLUMNS, *table])
    whole = file.getvalue().replace('\\"', '/"').encode()
    path = write(folder / "m.csv", whole)
    expected = read(path)
    for cut in range(whole.index(b"\n") + 1, len(whole)):
        found, error = outcome(write(path, whole[:cut]))
        # Half of the two quotes that stand for one looks like the quote that closes: nobody can tell.
        if not error and not (whole[:cut].endswith(b'"') and whole[cut:].startswith(b'"')):
            assert found == expected[: len(found)]
            assert whole[:cut].endswith(b"\n") or whole[cut:].startswith(end.encode())
