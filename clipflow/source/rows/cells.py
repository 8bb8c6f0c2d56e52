"""What a cell of a table file may hold, and how an error shows a piece of it."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from clipflow.errors import SourceError
from clipflow.uri import shown

LONGEST_TEXT = 32_768
_MOST_NAMES = 20

Kind = Literal["text", "value"]
"""`text`: nothing but text. `value`: text, or a whole number, a number, true or false, a time, a date or a decimal."""
Opened = Callable[[], Any]
Check = Callable[[list[str], str], dict[str, Kind]]


class Row(NamedTuple):
    """One row: where it stands, for errors, and its cells by column: str, int, float, bool or None.

    Times, dates and decimals are text already.
    """

    place: str
    values: dict[str, Any]


class Unfit(NamedTuple):
    """What is wrong with a cell, in words that follow "the column x holds", and the mend."""

    what: str
    mend: str

    def error(self, place: str, column: str, uri: str) -> SourceError:
        """The error that names the cell."""
        return SourceError(f"{place} of {shown(uri)}: the column {piece(column)} holds {self.what}.", self.mend)


def unfit(value: object, kind: Kind) -> Unfit | None:
    """What keeps a cell of JSON from being read; None where nothing does."""
    if value is None:
        return None
    if isinstance(value, str):
        return unfit_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return Unfit("a number that JSON cannot write", "Write null, or the number as text.")
    if isinstance(value, list | dict):
        return unfit_type("a list" if isinstance(value, list) else "an object", kind)
    word = "true or false" if isinstance(value, bool) else "a number"
    return unfit_type(word, kind) if kind == "text" else None


def unfit_text(text: str) -> Unfit | None:
    """What keeps a text from being stored; None where nothing does."""
    if len(text) > LONGEST_TEXT:
        return unfit_length(len(text), "characters")
    if not encodes(text):
        return Unfit("half a character, a surrogate without its other", "Write the whole character, or leave it out.")
    return None


def unfit_type(found: str, kind: Kind) -> Unfit:
    """A cell that holds something else than its column may."""
    if kind == "text":
        return Unfit(f"{found} where text is wanted", "Write text, or leave it empty.")
    return Unfit(f"{found}, which no text stands for", "Write text, a number, a time, true or false.")


def unfit_length(length: int, unit: str) -> Unfit:
    """A text beyond what a row keeps."""
    return Unfit(f"{length:,} {unit}, and {LONGEST_TEXT:,} characters are the most", "Shorten it, or leave it empty.")


def encodes(text: str) -> bool:
    """Whether a text is Unicode: no half of a surrogate pair, which also stands for a byte that is no UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def refuse_twice(found: Sequence[str], wanted: dict[str, Kind], uri: str) -> None:
    """Refuse a file in which a wanted column stands twice."""
    for name in wanted:
        if found.count(name) > 1:
            raise SourceError(f"{shown(uri)} has the column {piece(name)} twice.", "Rename one, or take it out.")


def piece(text: str, most: int = 80) -> str:
    """A short piece of foreign text in quotes, harmless on a terminal."""
    return repr(text if len(text) <= most else text[:most] + "…")


def printable(text: str, most: int) -> str:
    """A foreign sentence on one line, harmless on a terminal; the middle of a long one is left out."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(text[: 20 * most].split()))
    return line if len(line) <= most else f"{line[: most // 2]} … {line[-most // 2 :]}"


def listed(names: Sequence[str]) -> str:
    """The first columns of a file, for an error."""
    # Plain names as they are: quotes around each would only be noise.
    shown_names = [name if name.isidentifier() and len(name) <= 40 else piece(name, 40) for name in names[:_MOST_NAMES]]
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return (", ".join(shown_names) or "none") + more
