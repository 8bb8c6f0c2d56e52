"""Rows of JSONL: one object a line, and a line that cannot be read for certain is named."""

import bz2
import gzip
import json
from pathlib import Path

import pytest

from clipflow.source.rows.cells import LONGEST_TEXT
from clipflow.source.rows.lines import LONGEST_LINE
from tests.source.rows.read import cells, refused, write

FIRST = '{"uri": "a", "caption": "b", "who": "c"}\n\n'


@pytest.mark.parametrize(
    "line",
    [
        b'{"uri": "b", "caption": "caf\xe9"}',
        b'{"uri": "b", "caption": "x\0y"}',
        b"\0" * 4096,
        '{"uri": "b", "caption": "half \\ud83d"}',
        '{"uri": "b", "who": "\\udc00\\ud83d"}',
        '{"uri": "\\ud800"}',
        '{"uri": "b", "caption": "a\nb"}',
        '{"uri": "b", "caption": "cut',
        '{"uri": "b"} {"uri": "c"}',
        '[{"uri": "b"}]',
        '{"uri": "b", "uri": "c"}',
        '{"uri": "b", "other": {"x": 1, "x": 2}}',
        '{"uri": 5}',
        '{"uri": true}',
        '{"uri": ["b"]}',
        '{"uri": "b", "caption": 5}',
        '{"uri": "b", "caption": NaN}',
        '{"uri": "b", "caption": ["a dog"]}',
        '{"uri": "b", "caption": {"en": "a dog"}}',
        '{"uri": "b", "who": ["a"]}',
        '{"uri": "b", "who": {}}',
        '{"uri": "b", "who": NaN}',
        '{"uri": "b", "who": -Infinity}',
        '{"uri": "b", "who": 1e999}',
        '{"uri": "b", "who": ' + "9" * 5000 + "}",
        '{"uri": "b", "other": ' + "9" * 5000 + "}",
        "[" * 200_000,
        '{"uri": ' * 100_000,
        '{"uri": "b", "caption": "' + "x" * (LONGEST_TEXT + 1) + '"}',
        '{"uri": "b", "who": "' + "x" * (LONGEST_TEXT + 1) + '"}',
        '{"uri": "b", "other": "' + "x" * LONGEST_LINE + '"}',
    ],
    ids=range(31),
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: bytes | str) -> None:
    content = FIRST.encode() + (line.encode() if isinstance(line, str) else line)
    refused(write(tmp_path / "m.jsonl", content + b"\n" + FIRST.encode()), "Line 3")


def test_cells_keep_what_they_are(tmp_path: Path) -> None:
    lines = [
        '{"uri": "a", "caption": "\\ud83d\\ude00 \\u0000 \\u2028", "who": 123456789012345678901234567890}',
        '{"caption": "", "uri": "b", "who": 1.0, "\\ud83d": 1, "other": [NaN, {"deep": [null]}]}',
        '{"uri": "c", "caption": null, "who": true}',
        '{"uri": "d"}',
    ]
    for end in ("\n", "\r\n", "\r"):
        found = cells(write(tmp_path / "m.jsonl", "\ufeff" + end.join(lines)))
        assert [row["caption"] for row in found] == ["😀 \0 \u2028", "", None, None]
        assert [row["who"] for row in found] == [123456789012345678901234567890, 1.0, True, None]
        assert [type(row["who"]) for row in found] == [int, float, bool, type(None)]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_packed_file_that_is_cut_or_no_such_file_is_refused(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    suffix = ".gz" if pack is gzip.compress else ".bz2"
    whole = pack("".join(json.dumps({"uri": f"{at * 7919 % 100_003}"}) + "\n" for at in range(5000)).encode())
    path = tmp_path / f"m.jsonl{suffix}"
    assert len(cells(write(path, whole))) == 5000
    for content in (whole[:-1], whole[:-9], whole[: len(whole) // 2], whole + b"more", b'{"uri": "a"}\n'):
        refused(write(path, content), "cannot be parsed")
    refused(write(tmp_path / "m.parquet.gz", whole), "compressed parquet")


def test_keys_may_be_left_out_and_rows_may_be_long(tmp_path: Path) -> None:
    # So long that a thousand of them would not fit into memory: the columns are those of the first few.
    long = json.dumps({"uri": "a", "other": "x" * (LONGEST_LINE - 100)}) + "\n"
    assert len(cells(write(tmp_path / "m.jsonl", '{"who": "w", "uri": "b"}\n' + long * 6))) == 7
