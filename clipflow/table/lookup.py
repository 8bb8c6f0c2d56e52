"""Looking up images as people name them: by id, by the beginning of an id, or by address."""

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.errors import UsageError
from clipflow.uri import canonical, image_id, shown, spellings

SHORTEST = 8
"""So many hex digits at least make the beginning of an id."""

_HEX = re.compile(r"[0-9a-fA-F]{1,32}")
_MEND = f"Give an image_id, at least {SHORTEST} of its first digits, or a source URI."


def find_ids(dataset: lance.LanceDataset, names: Iterable[str]) -> list[str]:
    """The image_id behind every name, in their order and each once.

    Args:
        names: image_ids (32 hex digits), their beginnings (8 digits or more), or addresses, canonical or not.

    Raises:
        UsageError: A name that no row has, or that several have.
    """
    wanted = {name: prefixes_of(name) for name in names}
    ids = _with_prefixes(dataset, [prefix for prefixes in wanted.values() for prefix in prefixes])
    found: dict[str, None] = {}
    unknown = []
    for name, (first, *further) in wanted.items():
        # Other spellings of an address count where there is no row of it as it is named.
        hits = _beginning(ids, first) or [key for prefix in further for key in _beginning(ids, prefix)]
        if len(hits) > 1:
            raise UsageError(
                f"{name!r} may mean several images of {dataset.uri}.", "Give more digits, or the image_id."
            )
        if hits:
            found[hits[0]] = None
        else:
            unknown.append(name)
    if unknown:
        others = f", nor of {len(unknown) - 1} others that were named" if len(unknown) > 1 else ""
        raise UsageError(f"{dataset.uri} has no row of {shown(unknown[0])!r}{others}.", _MEND)
    return list(found)


def prefixes_of(name: str) -> list[str]:
    """The hex digits with which the id of a named image begins, all 32 where the name says them; of an address those
    of each of its spellings, the one that was named first.

    Raises:
        UsageError: Fewer than 8 digits.
        SourceError: Neither digits nor an address.
    """
    if not _HEX.fullmatch(name):
        return [image_id(uri) for uri in spellings(canonical(name))]
    if len(name) < SHORTEST:
        raise UsageError(f"{name!r} is too short for the beginning of an id.", _MEND)
    return [name.lower()]


def _beginning(ids: list[str], prefix: str) -> list[str]:
    """At most two of the sorted ids that begin so."""
    at = bisect_left(ids, prefix)
    return [key for key in ids[at : at + 2] if key.startswith(prefix)]


def _with_prefixes(dataset: lance.LanceDataset, prefixes: Collection[str]) -> list[str]:
    """The ids that share their first digits with a prefix, sorted: one scan, however many there are."""
    firsts = pa.array({prefix[:SHORTEST] for prefix in prefixes}, pa.string())
    found: list[str] = []
    for batch in dataset.scanner(columns=["image_id"]).to_batches():
        ids = batch.column("image_id")
        found += ids.filter(pc.is_in(pc.utf8_slice_codeunits(ids, 0, SHORTEST), firsts)).to_pylist()
    return sorted(found)
