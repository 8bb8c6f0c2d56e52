"""CSV: comma-separated, quotes within quoted text doubled, the first line names the columns."""

import csv
import re
from collections.abc import Iterator

from clipflow.errors import SourceError
from clipflow.source.rows.cells import LONGEST_TEXT, Check, Opened, Row, refuse_twice, unfit_length
from clipflow.source.rows.lines import LONGEST_LINE, decoded, lines, too_long
from clipflow.uri import shown

_BLANK_BEFORE_QUOTE = re.compile(r'(?:^|,) +"')
_QUOTES = "Close every quote, and write quotes within quoted text twice."


def read_csv(opened: Opened, uri: str, check: Check) -> Iterator[Row]:
    """The rows of a CSV file; an empty cell is null.

    Raises:
        SourceError: A row has more or fewer cells than the header, or quotes that can be read in two ways or in none.
    """
    # The library's own bound on a cell holds for the whole process: it is only ever raised, to ours on a row.
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
    with opened() as file, decoded(file) as text:
        rows = _Rows(lines(text, uri), uri)
        header = next(rows.read(), None)
        if header is None:
            raise SourceError(f"{shown(uri)} is empty.", "Name the columns in its first line.")
        columns = header[1]
        wanted = check(columns, uri)
        refuse_twice(columns, wanted, uri)
        indexes = [(name, columns.index(name)) for name in wanted]
        for first, cells in rows.read():
            if len(cells) != len(columns):
                raise _ragged(first, len(cells), len(columns), uri)
            values = {name: cells[at] or None for name, at in indexes}
            for name, value in values.items():
                if value is not None and len(value) > LONGEST_TEXT:
                    raise unfit_length(len(value), "characters").error(f"Line {first}", name, uri)
            yield Row(f"Line {first}", values)


class _Rows:
    """Rows of cells by the standard library's strict reader, and beside it their text, to see what it cannot tell."""

    def __init__(self, lines: Iterator[str], uri: str) -> None:
        self._lines = lines
        self._uri = uri
        self._reader = csv.reader(self._watched(), strict=True)
        # Of the row at hand: the line in which it begins, its text, and how long that is.
        self._first, self._text, self._size = 1, list[str](), 0
        self._ends_by_return: bool | None = None

    def read(self) -> Iterator[tuple[int, list[str]]]:
        """The number of the line in which a row begins, and its cells; empty lines are none."""
        while True:
            self._first, self._size = self._reader.line_num + 1, 0
            self._text.clear()
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise self._broken(error) from None
            self._refuse_other_end()
            if cells:
                self._refuse_doubt(cells)
                yield self._first, cells

    def _watched(self) -> Iterator[str]:
        for line in self._lines:
            self._text.append(line)
            self._size += len(line)
            if self._size > LONGEST_LINE:
                raise too_long(f"The row that begins in line {self._first}", self._uri, ": is a quote not closed?")
            yield line

    def _broken(self, error: csv.Error) -> SourceError:
        if "unexpected end" in str(error):
            return self._refused("the quoted text that begins here is not closed", _QUOTES)
        if not _text_behind_quote(error):
            return self._refused(f"it is no row of CSV ({error})", _QUOTES)
        last = self._first + len(self._text) - 1
        where = f" in line {last}" if last > self._first else ""
        return self._refused(f"text stands behind a closing quote{where}", _QUOTES)

    def _refuse_other_end(self) -> None:
        """Refuse a carriage return that ends a row where rows end otherwise: it was part of a text without quotes."""
        by_return = self._text[-1].endswith("\r")
        if self._ends_by_return is None:
            self._ends_by_return = by_return
        elif by_return != self._ends_by_return and self._text[-1].endswith(("\r", "\n")):
            raise self._refused("it ends by another kind of line break than the first", "Put line breaks in quotes.")

    def _refuse_doubt(self, cells: list[str]) -> None:
        """Refuse quotes that other programs mean otherwise: with blanks before them, or escaped by a backslash."""
        text = "".join(self._text)
        if '"' not in text:
            return
        if '\\"' in text:
            try:
                escaped = next(csv.reader(self._text, strict=True, doublequote=False, escapechar="\\"))
            except csv.Error as error:
                # No program that escapes by a backslash writes text behind a closing quote.
                escaped = cells if _text_behind_quote(error) else []
            if escaped != cells:
                raise self._refused("a backslash stands before a quote, which can be read in two ways", _QUOTES)
        if _BLANK_BEFORE_QUOTE.search(text):
            try:
                skipped = next(csv.reader(self._text, strict=True, skipinitialspace=True))
            except csv.Error:
                skipped = []
            if [cell.lstrip(" ") for cell in skipped] != [cell.lstrip(" ") for cell in cells]:
                raise self._refused("blanks stand before a quote", "Put no blanks between a comma and a quote.")

    def _refused(self, what: str, mend: str) -> SourceError:
        return SourceError(f"Line {self._first} of {shown(self._uri)}: {what}.", mend)


def _text_behind_quote(error: csv.Error) -> bool:
    # The library's errors have no codes.
    return "expected after" in str(error)


def _ragged(first: int, found: int, wanted: int, uri: str) -> SourceError:
    return SourceError(
        f"Line {first} of {shown(uri)} has {found:,} cells where the first line names {wanted:,} columns.",
        "Separate cells by commas, and put text that holds commas or line breaks in quotes.",
    )
