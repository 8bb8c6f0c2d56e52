"""Manifests: a table of addresses, one image a row."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from clipflow.errors import JobFileError, NotYet, SourceError
from clipflow.interval import moment
from clipflow.source.exclude import Exclude
from clipflow.source.folder import require
from clipflow.source.listing import BATCH_ROWS, Listed, Notes, microseconds
from clipflow.source.objects import list_objects
from clipflow.source.rows import Kind, Row, exists, listed, piece, printable, read_rows
from clipflow.source.states import States
from clipflow.source.window import Window
from clipflow.spec import SourceSpec
from clipflow.storage import Storage
from clipflow.uri import canonical, join, scheme, shown

_STAT_ROWS = BATCH_ROWS // 10
_MOST_DIGITS = 18


def list_manifest(source: SourceSpec, window: Window) -> Iterator[Listed]:
    """Every row of a manifest within its window, in the order of the file, with the state of its object.

    Objects whose entity tag and size the manifest gives are not asked, so that a stored listing costs no request an
    object. The state is null where an object cannot be asked for it; fetching will say why.
    """
    storage = Storage.of(source.storage)
    states = States(storage)
    names = Columns(source)
    if window.root and scheme(window.root) == "file":
        require(canonical(window.root))
    uris: Iterable[str] = window.uris
    if source.window == "path" and window.root is None:
        # All manifests of a path in time.
        uris = sorted(one.uri for one in list_objects(source, window, Exclude(()), Notes()))
    for uri in uris:
        address = canonical(uri)
        folder, name = address.rpartition("/")[0], shown(address)
        if window.root is not None and not exists(storage, address):
            continue
        pending: list[Listed] = []
        for row in read_rows(storage, address, names.check):
            listed = names.read(row, folder, name)
            if not window.holds(listed.modified):
                if listed.modified is None:
                    raise SourceError(
                        f"{row.place} of {name} has no time in column {source.modified!r}.",
                        "Give every row a time, or choose window: all.",
                    )
                continue
            pending.append(listed)
            if len(pending) == _STAT_ROWS:
                yield from states.fill(pending)
                pending = []
        yield from states.fill(pending)


class Columns:
    """Which columns of a manifest hold what."""

    def __init__(self, source: SourceSpec) -> None:
        self._source = source
        self._uri = source.uri_column or "uri"
        self._named = {name: getattr(source, name) for name in ("caption", "modified", "etag", "size")}

    def check(self, found: list[str], address: str) -> dict[str, Kind]:
        """The columns to read and what their cells may hold, once all of them are among those found.

        Raises:
            SourceError: There is no column of addresses, and the job file names none.
            JobFileError: A column that the job file names is missing.
        """
        if self._uri not in found and self._source.uri_column is None:
            near = _near("uri", found)
            mend = f"Did you mean {near}? Name it by" if near else "Name the column of addresses by"
            raise SourceError(
                f"{shown(address)} has no column 'uri'; it has {listed(found)}.", f"{mend} source.uri_column."
            )
        wanted = [("source.uri_column", self._uri)]
        wanted += [(f"source.{key}", name) for key, name in self._named.items() if name]
        wanted += [("source.attributes", name) for name in self._source.attributes]
        for key, name in wanted:
            if name not in found:
                near = _near(name, found)
                raise JobFileError(
                    f"{key} names the column {name!r}, which {shown(address)} does not have; it has {listed(found)}.",
                    f"Did you mean {near}?" if near else "Rename a column, or name one that is there.",
                )
        # An address and a caption are words; a number there is a mistake in the file.
        words = (self._uri, self._named["caption"])
        return {name: "text" if name in words else "value" for _, name in wanted}

    def read(self, row: Row, folder: str, manifest: str) -> Listed:
        """One row as a listed image; of its state no more is known than the manifest gives.

        Args:
            folder: Where relative addresses begin, canonical.
            manifest: How errors name the file.

        Raises:
            SourceError: The address is empty or wrong, or the time or size cannot be read; the line is named.
            NotYet: The address is http.
        """
        place = f"{row.place} of {manifest}"
        name = row.values[self._uri]
        if name is None or not name.strip():
            raise SourceError(f"{place} has no {self._uri}.", "Give every row the address of an image.")
        try:
            uri = join(folder, name)
            kind = scheme(uri)
        except SourceError as error:
            raise SourceError(f"{place}: {printable(error.message, 300)}", error.mend) from None
        if kind not in ("file", "s3"):
            raise NotYet(
                f"{place} names {piece(shown(uri))}: http manifests come with a later version.", "Use s3 or files."
            )
        caption, modified, etag, size = (row.values[named] if named else None for named in self._named.values())
        told = not _missing(etag) and not _missing(size)
        return Listed(
            uri,
            etag=str(etag).strip('"') if told else None,
            size=_size(size, place) if told else None,
            modified=None if modified is None else _time(modified, place),
            caption=caption,
            attributes=tuple(_text(row.values[name]) for name in self._source.attributes),
        )


def _near(name: str, found: list[str]) -> str | None:
    known = [one for one in found if len(one) <= 80]
    alike = difflib.get_close_matches(name.lower(), [one.lower() for one in known], 1, 0.4)
    return next((piece(one) for one in known if alike and one.lower() == alike[0]), None)


def _text(value: str | float | bool | None) -> str | None:
    """A cell as the text that a row keeps; docs/jobfile.md says how SQL reads it back."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _missing(value: Any) -> bool:
    """Whether a cell says nothing: a column of whole numbers with gaps is one of floats and NaN in most tools."""
    return value is None or value == "" or value != value


def _size(value: Any, place: str) -> int:
    text = str(value).strip().removesuffix(".0")
    if not text.isdecimal() or len(text) > _MOST_DIGITS:
        raise SourceError(f"{place} has the size {piece(str(value))}.", "Write the number of bytes.")
    return int(text)


def _time(value: Any, place: str) -> int:
    try:
        return microseconds(moment(str(value)))
    except ValueError:
        raise SourceError(
            f"{place} has the time {piece(str(value))}, which is not ISO 8601.", "Write it like 2026-11-01T00:00:00Z."
        ) from None
