"""Rows of CSV: what is written is read, and what cannot be read for certain is refused with its line."""

import bz2
import csv
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import pytest

from clipflow.source.rows.cells import LONGEST_TEXT
from clipflow.source.rows.lines import LONGEST_LINE
from tests.source.rows.read import cells, refused, write

HEAD = "uri,caption\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        # Quotes that are not closed: by the end of the file, by another quote, in the header.
        (HEAD + 'a,b\nc,"d\ne,f\n', 3),
        (HEAD + 'a,"b', 2),
        (HEAD + 'a,"5 inch\nb,c\nd,"quoted"\n', 2),
        ('uri,"caption\na,b\n', 1),
        (HEAD + 'a,"x\ny"\nb,"z\n', 4),
        # Text behind a closing quote.
        (HEAD + 'a,"b"c\n', 2),
        (HEAD + 'a,"b" \n', 2),
        (HEAD + 'a,"5" screen"\n', 2),
        # Too many cells, and too few.
        (HEAD + "a,b\nc,d,e\n", 3),
        (HEAD + "a,b\n\nc\n", 4),
        (HEAD + "a,b,\n", 2),
        (HEAD + 'a,"x\r\ny"\nb\n', 4),
        # The file ends before a cell.
        (HEAD + "a,b\nc,", 3),
        (HEAD + '"a",', 2),
        # Blanks before a quote.
        (HEAD + 'a, "b"\n', 2),
        (HEAD + ' "a",b\n', 2),
        (HEAD + 'a, "b, c"\n', 2),
        # Line breaks of two kinds: some may be part of a text without quotes, as pandas writes a carriage return.
        (HEAD + "a,b\rc\n", 2),
        (HEAD + "a,b\nc,d\r\n", 3),
        ("uri,caption\r\na,b\r\nc,d\n", 3),
        (HEAD + "a,b\rc,d\n", 2),
        ("uri,caption\ra,b\nc,d\r", 2),
        # Quotes that a backslash escapes, as Spark writes them.
        (HEAD + r'a,"say \"hi\""' + "\n", 2),
        (HEAD + r'a,"it ends \""' + "\nb,c\n", 2),
        (HEAD + r'a,"it ends \""' + "\n" + r'b,"it \"too\""' + "\n", 2),
        (HEAD + r'a,"\"begins"' + "\n", 2),
        (HEAD + r'a,"x\", y"' + "\n", 2),
        (HEAD + 'a,"x\\"\ny,z"\n', 2),
        (HEAD + 'a,"x\\"\ny,z\n\nw,v\nu,t"\n', 2),
        (HEAD + "a,x\\\"y\n", 2),
        (HEAD + 'a,"x\\"', 2),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_or_in_none_is_refused(tmp_path: Path, text: str, line: int) -> None:
    refused(write(tmp_path / "m.csv", text), f"Line {line}")
    # Where quotes are wrong, so they are in a column that nobody wants.
    refused(write(tmp_path / "m.csv", text), f"Line {line}", {"uri": "text"})


@pytest.mark.parametrize(
    ("text", "captions"),
    [
        (HEAD + 'a,5" screen\nb,6"\n', ['5" screen', '6"']),
        (HEAD + 'a,"said, ""hi"", and"\nb,"""x"""\n', ['said, "hi", and', '"x"']),
        (HEAD + 'a,\nb,""\nc," "\n', [None, None, " "]),
        (HEAD + "\n\na,b\n\n", ["b"]),
        ("\n" + HEAD + "a,b", ["b"]),
        ("\ufeff" + '"uri","caption"\r\n"a","b"\r\n', ["b"]),
        ("uri,caption\ra,b\rc,\"d\re\"\r", ["b", "d\re"]),
        (HEAD + 'a,"b\r\nc\n\rd"\n', ["b\r\nc\n\rd"]),
        (HEAD + "a,x\0y\n", ["x\0y"]),
        (HEAD + "a,\u2028\x0b\x0c\x85x\n", ["\u2028\x0b\x0c\x85x"]),
        # Backslashes that escape nothing, and are those of a path or of JSON.
        (HEAD + "a,x\\y\\\nb,c\n", ["x\\y\\", "c"]),
        (HEAD + '"a","C:\\pics\\"\n"b","c"\n', ["C:\\pics\\", "c"]),
        (HEAD + 'a,"C:\\pics, old\\"\nb,c\n', ["C:\\pics, old\\", "c"]),
        (HEAD + 'a,"{""k"": ""x \\""y\\""""}"\n', ['{"k": "x \\"y\\""}']),
        # An index without a name, as pandas writes it, and names that stand twice and that nobody wants.
        (",uri,x,x,caption\n0,a,1,2,b\n", ["b"]),
    ],
)  # fmt: skip
def test_odd_files_are_read_as_they_are_written(tmp_path: Path, text: str, captions: list[str | None]) -> None:
    found = cells(write(tmp_path / "m.csv", text))
    assert [row["caption"] for row in found] == captions


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "cp1252"])
def test_what_is_not_utf_8_is_named(tmp_path: Path, encoding: str) -> None:
    text = HEAD + "a,b\nc,“d”\n" if encoding == "cp1252" else HEAD + "a,b\nc,é\n"
    refused(write(tmp_path / "m.csv", text.encode(encoding)), "Line 1" if encoding == "utf-16" else "Line 3")
    cut = (HEAD + "a,é").encode()[:-1]
    refused(write(tmp_path / "m.csv", cut), "Line 2")


@pytest.mark.parametrize("text", ["", "\ufeff", "\n\n"])
def test_a_file_without_a_header_is_refused(tmp_path: Path, text: str) -> None:
    refused(write(tmp_path / "m.csv", text), "is empty")


def test_headers_that_name_a_wanted_column_twice_or_none_are_refused(tmp_path: Path) -> None:
    assert "twice" in refused(write(tmp_path / "m.csv", "uri,caption,caption\na,b,c\n"), "'caption'")
    assert "commas" in refused(write(tmp_path / "m.csv", "uri;caption\na;b\n"), "uri;caption")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_at_every_place_of_a_block(tmp_path: Path, end: str) -> None:
    # Files are read by blocks of a power of two: some of these ends lie on a border of each size up to 2^17.
    rows = [("a" * (at % 37), f"x{end}{at}{end}") for at in range(9_000)]
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator=end)
    writer.writerows([("uri", "caption"), *rows])
    found = cells(write(tmp_path / "m.csv", file.getvalue()))
    assert [(row["uri"] or "", row["caption"]) for row in found] == rows


def test_long_cells_rows_and_lines_are_refused(tmp_path: Path) -> None:
    longest = "é" * LONGEST_TEXT
    assert cells(write(tmp_path / "m.csv", f"{HEAD}a,{longest}\n"))[0]["caption"] == longest
    for row in (f"{longest}x,b", f"a,{longest}x"):
        assert f"{LONGEST_TEXT:,}" in refused(write(tmp_path / "m.csv", f"{HEAD}a,b\n{row}\n"), "Line 3")
    refused(write(tmp_path / "m.csv", f"uri,x\na,b\nc,{'x' * LONGEST_LINE}\n"), "Line 3", {"uri": "text"})
    refused(write(tmp_path / "m.csv", HEAD + 'a,b\nc,"' + f"{'x' * 99}\n" * (LONGEST_LINE // 90)), "line 3")


@pytest.mark.parametrize(("name", "head"), [("m.csv", HEAD), ("m.csv", ""), ("m.jsonl", '{"uri": "a"}\n')])
def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path, name: str, head: str) -> None:
    path = write(tmp_path / name, head + '"')
    with path.open("r+b") as file:
        file.truncate(200_000_000_000)  # a hole: it takes no room
    refused(path, "Line 2" if head else "Line 1")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_csv_is_read_as_strictly(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / ("m.csv.gz" if pack is gzip.compress else "m.csv.bz2")
    assert cells(write(path, pack(f'{HEAD}a,"b\r\nc"\n'.encode()))) == [{"uri": "a", "caption": "b\r\nc"}]
    refused(write(path, pack(f'{HEAD}a,b\nc,"d\n'.encode())), "Line 3")
    refused(write(path, pack(f"{HEAD}a,b\nc,é\n".encode("latin-1"))), "Line 3")


def test_a_quote_that_may_be_escaped_is_followed_only_so_far(tmp_path: Path) -> None:
    doubt = 'a,"x\\"\n'
    plain = "".join(f"{at},{'y' * 100}\n" for at in range(20_000))
    assert len(cells(write(tmp_path / "m.csv", HEAD + doubt + plain + 'b,"z"\n'))) == 20_002
    refused(write(tmp_path / "m.csv", HEAD + "a,b\n" + doubt + 'c,\\"z\n' * 1000), "Line 3")
