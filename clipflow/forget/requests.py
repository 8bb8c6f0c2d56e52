"""What somebody asks to forget: addresses, bytes, rows that meet a condition, or a list of requests."""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.errors import QueryError, SourceError, UsageError
from clipflow.faults import storage_error
from clipflow.files import get_object
from clipflow.small_file import read_small
from clipflow.storage import Storage
from clipflow.table.condition import check_condition, refused
from clipflow.table.forgotten import Forgotten
from clipflow.uri import canonical, image_id, local_path, scheme, shown, spellings

_CONTENT = re.compile(r"[0-9a-f]{64}")
_IMAGE_ID = re.compile(r"[0-9a-f]{32}")
# Longer than the names of files usually are: a hash with a digit too few must not pass for one.
_DIGITS = re.compile(r"[0-9A-Fa-f]{24,}")
# Bytes of a list: millions of requests.
_MOST = 2**28
_SHA256, _VARIABLE = "sha256:", "env:"


@dataclass(frozen=True)
class Requests:
    """Distinct requests, as keys.

    Attributes:
        uris: Canonical addresses, as far as they were named.
        image_ids: Ids of the rows asked for, those of the addresses among them.
        contents: sha256 of bytes, 64 hex digits.
        by_condition: How many ids a condition added.
    """

    uris: frozenset[str]
    image_ids: frozenset[str]
    contents: frozenset[str]
    by_condition: int = 0

    @property
    def tombstones(self) -> Forgotten:
        """What may not return."""
        return Forgotten(self.image_ids, self.contents)

    def counts(self) -> dict[str, int]:
        """How many of which kind: all that is recorded of them beside their hashes."""
        named = len(self.image_ids) - self.by_condition
        return {"image_ids": named, "sha256": len(self.contents), "where": self.by_condition}


def gather_requests(
    dataset: lance.LanceDataset,
    storage: Storage,
    *,
    uris: Sequence[str] = (),
    sha256: Sequence[str] = (),
    where: str | None = None,
    listed: str | None = None,
    by_age: bool = False,
) -> Requests:
    """Read and check all requests; each kind adds to the others.

    Args:
        dataset: The images; a condition holds for its rows at this version.
        storage: Where a list of requests may lie.
        where: An SQL condition on the table's columns.
        listed: A path, an s3:// URI or `env:NAME`: one request a line.
        by_age: Old rows go too, so that there may be no other request.

    Raises:
        UsageError: There is no request, or one cannot be read.
        StorageUnavailable: Storage did not answer.
    """
    if not uris and not sha256 and where is None and listed is None and not by_age:
        raise UsageError("Nothing was asked for.", "Give --uri, --sha256, --where, --from or --older-than.")
    addresses = {_address(uri, "--uri") for uri in uris}
    contents = {_content(text, "--sha256") for text in sha256}
    ids: set[str] = set()
    for place, line in _lines(listed, storage) if listed is not None else ():
        if line.startswith(_SHA256):
            contents.add(_content(line, place))
        elif _DIGITS.fullmatch(line):
            key = _key(line, place)
            (ids if _IMAGE_ID.fullmatch(key) else contents).add(key)
        elif "://" in line or line.startswith("/"):
            addresses.add(_address(line, place))
        else:
            raise UsageError(f"{place}: {line[:80]!r} is no request.", "Write one URI, sha256:HEX or image_id a line.")
    found = _matching(dataset, where) if where is not None else frozenset()
    if listed is not None and not addresses and not contents and not ids:
        raise UsageError(f"{_named(listed)} holds no request.", "Write one URI, sha256:HEX or image_id a line.")
    addresses = _meant(dataset, addresses)
    ids |= {image_id(uri) for uri in addresses}
    return Requests(frozenset(addresses), frozenset(ids | found), frozenset(contents), len(found - ids))


def _meant(dataset: lance.LanceDataset, addresses: set[str]) -> set[str]:
    """The addresses that were meant: as they are named where there is such a row, else other spellings that have one.

    Where none has, all of them are: whoever asks must not be failed by a spelling.
    """
    asked = {uri: spellings(uri) for uri in addresses}
    wanted = {image_id(one): one for forms in asked.values() for one in forms if len(forms) > 1}
    if not wanted:
        return addresses
    rows = dataset.to_table(columns=["image_id"], filter=pc.field("image_id").isin(pa.array(wanted)))
    there = {wanted[key] for key in rows.column("image_id").to_pylist()}
    meant: set[str] = set()
    for uri, forms in asked.items():
        found = [one for one in forms if one in there]
        meant |= {uri} if uri in there or len(forms) == 1 else set(found or forms)
    return meant


def _matching(dataset: lance.LanceDataset, where: str) -> frozenset[str]:
    if not where.strip():
        raise QueryError("The condition is empty.", "Give --where \"caption = 'a red car'\".")
    check_condition(dataset, where)
    try:
        batches = dataset.scanner(columns=["image_id"], filter=where).to_batches()
        return frozenset(key for batch in batches for key in batch.column("image_id").to_pylist())
    except (ValueError, OSError) as error:
        raise refused(dataset, where, error) from error


def _lines(listed: str, storage: Storage) -> Iterator[tuple[str, str]]:
    """Each request and where it stands; blank lines and comments are none."""
    for number, line in enumerate(_text(listed, storage).splitlines(), 1):
        text = line.strip()
        if text and not text.startswith("#"):
            yield f"Line {number} of {_named(listed)}", text


def _text(listed: str, storage: Storage) -> str:
    if listed.startswith(_VARIABLE):
        name = listed.removeprefix(_VARIABLE)
        if name not in os.environ:
            raise UsageError(f"The environment has no variable {name!r}.", "Set it, or name a file.")
        return os.environ[name]
    address = canonical(listed)
    if scheme(address) not in ("file", "s3"):
        raise UsageError(f"{shown(listed)} is no list of requests.", "Name a path, an s3:// URI or env:NAME.")
    try:
        on_disk = scheme(address) == "file"
        data = read_small(local_path(address), _MOST) if on_disk else get_object(storage, address)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            raise UsageError(f"{_named(listed)} cannot be read: {error.strerror}.", "Name a smaller list.") from None
        raise storage_error(error, address, "read") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{_named(listed)} is not UTF-8 text.", "Write one request a line.") from None


def _address(uri: str, place: str) -> str:
    try:
        return canonical(uri)
    except SourceError as error:
        raise UsageError(f"{place}: {error.message}", error.mend) from None


def _content(text: str, place: str) -> str:
    digits = text.removeprefix(_SHA256).lower()
    if not _CONTENT.fullmatch(digits):
        raise UsageError(f"{place}: {text[:80]!r} is no sha256.", "Give its 64 hex digits.")
    return digits


def _key(text: str, place: str) -> str:
    digits = text.lower()
    if not _CONTENT.fullmatch(digits) and not _IMAGE_ID.fullmatch(digits):
        raise UsageError(f"{place}: {text[:80]!r} has {len(text)} hex digits.", "A sha256 has 64, an image_id has 32.")
    return digits


def _named(listed: str | None) -> str:
    return shown(listed or "")
