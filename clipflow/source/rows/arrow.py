"""Columns of Arrow as cells: text from bytes, and one spelling for every number and time."""

import re
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types

from clipflow.source.rows.cells import LONGEST_TEXT, Kind, Unfit, printable, unfit_length, unfit_type

_Kinds = Iterable[Callable[[pa.DataType], bool]]

_BYTES_A_CHARACTER = 4
_ISO = re.compile(r"\d{4}-|\d\d:")
_BINARY = (types.is_binary, types.is_large_binary, types.is_binary_view)
_TEXTS: _Kinds = (types.is_string, types.is_large_string, types.is_string_view, *_BINARY)
_NUMBERS: _Kinds = (types.is_integer, types.is_floating, types.is_decimal)
_TIMES: _Kinds = (types.is_timestamp, types.is_date, types.is_time)
_VALUES: dict[str, _Kinds] = {"a number": _NUMBERS, "true or false": (types.is_boolean,), "a time": _TIMES}
_LISTS = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
_OTHERS: dict[str, _Kinds] = {"a map": (types.is_map,), "a list": _LISTS, "a struct": (types.is_struct,)}


class UnfitCell(Exception):
    """What is wrong with a cell, and where it stands in its column."""

    def __init__(self, at: int, what: Unfit) -> None:
        super().__init__(at, what)
        self.at = at
        self.what = what


def cells(column: pa.Array, kind: Kind) -> list[Any]:
    """The cells of a column as `Row` has them.

    Raises:
        UnfitCell: One holds what the column may not.
    """
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if types.is_dictionary(column.type):
        if _is(column.type.value_type, _TEXTS):
            # Before it is spread over the rows: one long text may stand in all of them.
            _refuse_long(pc.binary_length(column.dictionary.cast(pa.large_binary())).take(column.indices))
        column = column.dictionary_decode()
    if _is(column.type, _TEXTS):
        return _texts(column)
    if column.null_count == len(column):
        return [None] * len(column)
    word = next((word for word, kinds in (_VALUES | _OTHERS).items() if _is(column.type, kinds)), None)
    if kind == "text" or word not in _VALUES:
        first = pc.index(column.is_valid(), True).as_py()
        raise UnfitCell(first, unfit_type(word or f"a value of type {printable(str(column.type), 60)}", kind))
    return _times(column) if word == "a time" else _plain(column)


def _is(kind: pa.DataType, kinds: _Kinds) -> bool:
    return any(one(kind) for one in kinds)


def _texts(column: pa.Array) -> list[Any]:
    data = column.cast(pa.large_binary())
    lengths = pc.binary_length(data)
    _refuse_long(lengths)
    try:
        found: list[Any] = data.cast(pa.large_string()).to_pylist()
    except pa.ArrowInvalid:
        for at, one in enumerate(data):
            try:
                bytes(one.as_py() or b"").decode()
            except UnicodeDecodeError:
                raise UnfitCell(at, Unfit("bytes that are not UTF-8", "Write text as UTF-8.")) from None
        raise
    if (pc.max(lengths).as_py() or 0) > LONGEST_TEXT:
        for at, text in enumerate(found):
            if text is not None and len(text) > LONGEST_TEXT:
                raise UnfitCell(at, unfit_length(len(text), "characters"))
    return found


def _refuse_long(lengths: pa.Array) -> None:
    """Refuse what is beyond the bound whatever its characters, by its bytes and without making text of it."""
    longest = pc.max(lengths).as_py() or 0
    if longest > LONGEST_TEXT * _BYTES_A_CHARACTER:
        raise UnfitCell(pc.index(lengths, longest).as_py(), unfit_length(longest, "bytes"))


def _plain(column: pa.Array) -> list[Any]:
    found: list[Any] = column.to_pylist()
    if types.is_decimal(column.type):
        return [None if one is None else format(one, "f") for one in found]
    if types.is_float16(column.type) or types.is_float32(column.type):
        # The shortest decimal that reads back to the same number; that of the wider number is longer.
        narrow = column.type.to_pandas_dtype()
        return [None if one is None else float(str(narrow(one))) for one in found]
    return found


def _times(column: pa.Array) -> list[Any]:
    """ISO 8601 with as many digits of a second as there are; with a date and a time in UTC, which Z says."""
    zone = ""
    if types.is_timestamp(column.type):
        # By whole numbers, as the column's zone may be one that this machine does not know.
        column, zone = column.cast(pa.int64()).cast(pa.timestamp(column.type.unit)), "Z"
    elif types.is_date64(column.type):
        column = column.cast(pa.date32())
    found: list[Any] = []
    for at, one in enumerate(column.cast(pa.string()).to_pylist()):
        if one is None:
            found.append(None)
            continue
        if not _ISO.match(one):
            raise UnfitCell(at, Unfit("a time outside the years 0 to 9999", "Correct it, or leave it empty."))
        short = one.rstrip("0").rstrip(".") if "." in one else one
        found.append(short.replace(" ", "T") + zone)
    return found
