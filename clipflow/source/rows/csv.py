"""CSV: comma-separated, quotes within quoted text doubled, the first line names the columns."""

import csv
import re
from collections.abc import Iterator

from clipflow.errors import SourceError
from clipflow.source.rows.cells import LONGEST_TEXT, Check, Opened, Row, piece, refuse_twice, unfit_length
from clipflow.source.rows.lines import LONGEST_LINE, decoded, lines, too_long
from clipflow.source.rows.quotes import Escaped, means_otherwise, stands_behind_quote
from clipflow.uri import shown

_OTHER_SEPARATORS = re.compile(r"[;\t|]")
_QUOTES = "Close every quote; within quoted text write a quote twice, with no backslash before it."


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
        if len(columns) == 1 and _OTHER_SEPARATORS.search(columns[0]):
            raise SourceError(f"{shown(uri)} has one column, {piece(columns[0])}.", "Separate columns by commas.")
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
        self._end: str | None = None
        self._escaped = Escaped()

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
            end = self._text[-1][len(self._text[-1].rstrip("\r\n")) :]
            self._refuse_other_end(end)
            if not end and self._text[-1].endswith(","):
                raise self._refused("the file ends behind a comma, as one that is cut", "End its last line.")
            if cells:
                self._refuse_doubt(cells, cut=not end)
                yield self._first, cells

    def _watched(self) -> Iterator[str]:
        for line in self._lines:
            self._text.append(line)
            self._size += len(line)
            if self._size > LONGEST_LINE:
                raise too_long(f"The row from line {self._first}", self._uri, ", perhaps by a quote that is not closed")
            yield line

    def _broken(self, error: csv.Error) -> SourceError:
        if "unexpected end" in str(error):
            return self._refused("the quoted text that begins here is not closed", _QUOTES)
        if not stands_behind_quote(error):
            return self._refused(f"it is no row of CSV ({error})", _QUOTES)
        last = self._first + len(self._text) - 1
        where = f" in line {last}" if last > self._first else ""
        return self._refused(f"text stands behind a closing quote{where}", _QUOTES)

    def _refuse_other_end(self, end: str) -> None:
        """Refuse a row that ends otherwise than the first: its carriage return may be part of a text without quotes."""
        self._end = self._end or end
        if end and end != self._end:
            mend = "Use one kind of line break, and put text that holds others in quotes."
            raise self._refused("it ends by another kind of line break than the first", mend)

    def _refuse_doubt(self, cells: list[str], *, cut: bool) -> None:
        """Refuse quotes that other programs mean otherwise; `cut`: the file ends here, and without a line break."""
        text = self._text[0] if len(self._text) == 1 else "".join(self._text)
        if self._escaped.reads(self._first, text, self._text) or (cut and self._escaped.line is not None):
            line = self._escaped.line
            raise self._refused("a backslash before a quote may belong to the quote, and may not", _QUOTES, line)
        if means_otherwise(text, self._text, cells):
            raise self._refused("blanks stand before a quote", "Put no blanks between a comma and a quote.")

    def _refused(self, what: str, mend: str, line: int | None = None) -> SourceError:
        return SourceError(f"Line {line or self._first} of {shown(self._uri)}: {what}.", mend)


def _ragged(first: int, found: int, wanted: int, uri: str) -> SourceError:
    return SourceError(
        f"Line {first} of {shown(uri)} has {found:,} cell{'s' * (found != 1)}, and the first line {wanted:,}.",
        "Separate cells by commas, and put text that holds commas or line breaks in quotes.",
    )
