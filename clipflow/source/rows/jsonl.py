"""JSONL: one JSON object a line; keys may be left out where they are null."""

import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from clipflow.errors import SourceError
from clipflow.source.rows.cells import Check, Opened, Row, piece, unfit
from clipflow.source.rows.lines import LONGEST_LINE, decoded, lines
from clipflow.uri import shown

_HEAD_ROWS = 1000
_HEAD_SIZE = 4 * LONGEST_LINE


class _Twice(Exception):
    """A key stands twice in one object."""


class _Object(NamedTuple):
    """One line: its number, its length, and what it holds."""

    at: int
    size: int
    values: dict[str, Any]


def read_jsonl(opened: Opened, uri: str, check: Check) -> Iterator[Row]:
    """The rows of a JSONL file; its first thousand lines say which keys there are.

    Raises:
        SourceError: A line is no JSON object, or a wanted key holds what it may not.
    """
    # Line by line: a column may hold numbers here and words there, which a columnar reader refuses.
    with opened() as file, decoded(file) as text:
        objects = _objects(lines(text, uri), uri)
        # Keys may be left out where they are null, so one line does not know every column.
        head = list(_head(objects))
        wanted = check(list(dict.fromkeys(name for one in head for name in one.values)), uri) if head else {}
        for at, _, found in itertools.chain(head, objects):
            values = {name: found.get(name) for name in wanted}
            for name, kind in wanted.items():
                if wrong := unfit(values[name], kind):
                    raise wrong.error(f"Line {at}", name, uri)
            yield Row(f"Line {at}", values)


def _head(objects: Iterator[_Object]) -> Iterator[_Object]:
    """The first rows, as many as memory can bear."""
    size = 0
    for one in itertools.islice(objects, _HEAD_ROWS):
        yield one
        size += one.size
        if size > _HEAD_SIZE:
            return


def _objects(lines: Iterator[str], uri: str) -> Iterator[_Object]:
    decode = json.JSONDecoder(object_pairs_hook=_distinct).decode
    for at, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = decode(line)
        except json.JSONDecodeError as error:
            where = f"{error.msg.removesuffix(' at')} at character {error.colno}"
            raise _not_json(at, uri, where) from None
        except RecursionError:
            raise _not_json(at, uri, "lists or objects are nested too deeply") from None
        except _Twice as error:
            raise SourceError(
                f"Line {at} of {shown(uri)} has the key {piece(str(error))} twice in one object.",
                "Keep one of the two.",
            ) from None
        except ValueError:
            raise _not_json(at, uri, "a number has too many digits") from None
        if not isinstance(values, dict):
            raise SourceError(f"Line {at} of {shown(uri)} is not a JSON object.", "Write one object a line.")
        yield _Object(at, len(line), values)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _not_json(at: int, uri: str, why: str) -> SourceError:
    return SourceError(f"Line {at} of {shown(uri)} is not JSON: {why}.", "Write one object a line.")
