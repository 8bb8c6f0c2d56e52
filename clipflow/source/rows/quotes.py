"""Quotes of CSV that other programs mean otherwise: escaped by a backslash, or with blanks before them."""

import csv
import re
from collections.abc import Sequence

_BLANK_BEFORE = re.compile(r'(?:^|,) +"')
_MOST_CHARACTERS = 1_000_000
_MOST_LOOKS = 100


def means_otherwise(text: str, lines: Sequence[str], cells: Sequence[str]) -> bool:
    """Whether a program that skips blanks before a quote reads other cells in a row; `text` is its lines in one."""
    if ' "' not in text or not _BLANK_BEFORE.search(text):
        return False
    try:
        skipped = next(csv.reader(lines, strict=True, skipinitialspace=True))
    except csv.Error:
        return True
    return [cell.lstrip(" ") for cell in skipped] != [cell.lstrip(" ") for cell in cells]


def stands_behind_quote(error: csv.Error) -> bool:
    """Whether text stood behind a closing quote; the library's errors have no codes."""
    return "expected after" in str(error)


class Escaped:
    r"""The rows as Spark and others write them, `\"` for a quote, followed as long as the file may be theirs.

    A cell that ends in a backslash looks the same. What follows tells: where a quote was escaped the cell goes on, up
    to a quote that closes it; where it was not, the next quote has text behind it.

    Attributes:
        line: Where the doubt began; None where there is none.
    """

    def __init__(self) -> None:
        self.line: int | None = None
        self._lines: list[str] = []
        self._size = self._looks = 0

    def reads(self, line: int, text: str, lines: Sequence[str]) -> bool:
        """Take the next row; whether it, or all since the doubt began, make a row with escaped quotes as well."""
        if self.line is None:
            if '\\"' not in text:
                return False
            self.line, self._lines, self._size, self._looks = line, [], 0, 0
        self._lines += lines
        self._size += len(text)
        if '"' in text:
            self._looks += 1
            try:
                next(csv.reader(self._lines, strict=True, escapechar="\\"))
                return True
            except csv.Error as error:
                if stands_behind_quote(error):
                    self.line = None
        if self._size > _MOST_CHARACTERS:
            self.line = None
        # Every look reads all lines again.
        return self.line is not None and self._looks > _MOST_LOOKS
