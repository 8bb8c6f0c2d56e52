"""The lines of a text file, none of them longer than memory can bear."""

import io
from collections.abc import Iterator
from typing import Any

from clipflow.errors import SourceError
from clipflow.source.rows.cells import encodes
from clipflow.uri import shown

LONGEST_LINE = 4_000_000
_READ_BYTES = 1 << 20


def decoded(file: Any) -> io.TextIOWrapper:
    """A file of bytes as text with its line ends as they are; bytes that are not UTF-8 come as lone surrogates."""
    return io.TextIOWrapper(io.BufferedReader(file, _READ_BYTES), "utf-8-sig", "surrogateescape", newline="")


def lines(text: io.TextIOWrapper, uri: str) -> Iterator[str]:
    """Every line with its end: a line feed, a carriage return, or both.

    Raises:
        SourceError: A line is not UTF-8, or too long; it is named.
    """
    at = 0
    while line := text.readline(LONGEST_LINE + 1):
        at += 1
        if len(line) > LONGEST_LINE:
            raise too_long(f"Line {at}", uri)
        if not encodes(line):
            raise SourceError(f"Line {at} of {shown(uri)} is not UTF-8.", "Save the file as UTF-8.")
        yield line


def too_long(place: str, uri: str, hint: str = "") -> SourceError:
    """The error for a line or a row beyond the bound."""
    return SourceError(
        f"{place} of {shown(uri)} is longer than {LONGEST_LINE:,} characters{hint}.",
        "Take long columns out, or write parquet.",
    )
