"""Verdicts that people gave outside the table: a file of labels."""

import difflib
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from clipflow.errors import SourceError
from clipflow.source.rows import Kind, listed, read_rows
from clipflow.storage import Storage
from clipflow.uri import canonical, image_id, join, shown

_WORDS = {
    # A column of whole numbers with gaps is one of floats in most tools.
    **dict.fromkeys(("accepted", "accept", "1", "1.0", "true"), "accepted"),
    **dict.fromkeys(("rejected", "reject", "0", "0.0", "false"), "rejected"),
}
_KEYS = ("image_id", "uri")


@dataclass(frozen=True)
class Labels:
    """What people said.

    Attributes:
        verdicts: image_id -> accepted | rejected.
        repeated: Lines that said again what another had said.
        contradictory: Images that were given both verdicts; they are left out.
    """

    verdicts: dict[str, str]
    repeated: int
    contradictory: int

    @property
    def table(self) -> pa.Table:
        """Columns image_id and human."""
        return pa.table(
            {
                "image_id": pa.array(list(self.verdicts), pa.string()),
                "human": pa.array(list(self.verdicts.values()), pa.string()),
            }
        )


def read_labels(path: str, storage: Storage) -> Labels:
    """Read a file of labels, .csv, .parquet or .jsonl.

    It has a column `verdict` (accepted, accept, 1, true; rejected, reject, 0, false; in any case), and `image_id` or
    `uri`; with both, `image_id` counts. An address may be relative to the file's folder, as in a manifest.

    Raises:
        SourceError: It cannot be read, a column is missing, or a line has no image or no verdict.
        StorageUnavailable: Storage did not answer.
    """
    address = canonical(path)
    verdicts: dict[str, str] = {}
    contradictory: set[str] = set()
    repeated = 0
    for row in read_rows(storage, address, _columns):
        place = f"{row.place} of {shown(address)}"
        key, verdict = _image(row.values, address, place), _verdict(row.values["verdict"], place)
        if key not in verdicts:
            verdicts[key] = verdict
        elif verdicts[key] == verdict:
            repeated += 1
        else:
            contradictory.add(key)
    if not verdicts:
        raise SourceError(f"{shown(address)} holds no labels.", "Give it a line an image: uri,verdict.")
    kept = {key: verdict for key, verdict in verdicts.items() if key not in contradictory}
    return Labels(kept, repeated, len(contradictory))


def _columns(found: list[str], address: str) -> dict[str, Kind]:
    if "verdict" not in found:
        raise SourceError(f"{shown(address)} has no column 'verdict'; it has {listed(found)}.", _near("verdict", found))
    keys = [key for key in _KEYS if key in found]
    if not keys:
        raise SourceError(f"{shown(address)} names no images: it has {listed(found)}.", "Add a column image_id or uri.")
    return {keys[0]: "text", "verdict": "value"}


def _near(name: str, found: list[str]) -> str:
    near = difflib.get_close_matches(name, found, n=1)
    return f"Did you mean {near[0]!r}? Rename it." if near else "Add it, with accepted or rejected."


def _image(values: dict[str, Any], address: str, place: str) -> str:
    if "image_id" in values:
        if not isinstance(values["image_id"], str) or not values["image_id"]:
            raise SourceError(f"{place} has no image_id.", "Give every line an image, or remove it.")
        return values["image_id"]
    if not isinstance(values["uri"], str) or not values["uri"].strip():
        raise SourceError(f"{place} has no uri.", "Give every line an image, or remove it.")
    try:
        return image_id(join(address.rpartition("/")[0], values["uri"]))
    except SourceError as error:
        raise SourceError(f"{place}: {error.message}", error.mend) from None


def _verdict(value: object, place: str) -> str:
    found = _WORDS.get(str(value).strip().lower())
    if found is None:
        raise SourceError(f"{place} has the verdict {str(value)[:40]!r}.", "Write accepted or rejected, or 1 or 0.")
    return found
