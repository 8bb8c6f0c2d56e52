"""Tombstones: hashed identities that may not return."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Self

import lance
import pyarrow as pa

from clipflow.schema import FORGOTTEN
from clipflow.table.address import TableAddress
from clipflow.table.dataset import ensure_dataset, open_dataset
from clipflow.table.guard import Change, guarded_commit, write_fragments
from clipflow.table.runs import Operation


@dataclass(frozen=True)
class Forgotten:
    """What was forgotten so far.

    Attributes:
        image_ids: Ids of forgotten addresses: they are already hashes.
        contents: sha256 of forgotten bytes, blocked under any name.
    """

    image_ids: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()

    def __or__(self, other: Self) -> Self:
        return type(self)(self.image_ids | other.image_ids, self.contents | other.contents)

    def covers(self, image_id: str, content_sha256: str | None) -> bool:
        """Whether a row may not exist."""
        return image_id in self.image_ids or content_sha256 in self.contents


def read_forgotten(address: TableAddress) -> Forgotten:
    """The tombstones now; none when nothing was ever forgotten."""
    dataset = open_dataset(address, address.forgotten)
    return Forgotten() if dataset is None else _read(dataset)


def add_forgotten(address: TableAddress, more: Forgotten, operation: Operation) -> Forgotten:
    """Commit tombstones; one that is there already is not added again.

    Returns:
        All tombstones afterwards.
    """
    at = datetime.now(UTC)

    def decide(dataset: lance.LanceDataset) -> Change:
        operation.ensure_open()
        there = _read(dataset)
        new = {"uri": more.image_ids - there.image_ids, "sha256": more.contents - there.contents}
        rows = [
            {"hash": value, "kind": kind, "run_id": operation.run_id, "forgotten_at": at}
            for kind, values in new.items()
            for value in sorted(values)
        ]
        if not rows:
            return Change()
        tombstones = pa.Table.from_pylist(rows, FORGOTTEN)
        return Change(write_fragments(tombstones, address, address.forgotten, FORGOTTEN))

    ensure_dataset(address, address.forgotten, FORGOTTEN)
    return _read(guarded_commit(address, address.forgotten, decide, operation.properties))


def _read(dataset: lance.LanceDataset) -> Forgotten:
    rows = dataset.to_table(columns=["hash", "kind"]).to_pylist()
    return Forgotten(
        frozenset(row["hash"] for row in rows if row["kind"] == "uri"),
        frozenset(row["hash"] for row in rows if row["kind"] == "sha256"),
    )


def when_forgotten(address: TableAddress, kind: Literal["uri", "sha256"], prefix: str) -> dict[str, datetime]:
    """When what hashes begin with `prefix` was forgotten, by hash.

    Args:
        kind: `uri` for image_ids, `sha256` for bytes.
        prefix: Hex digits.
    """
    dataset = open_dataset(address, address.forgotten)
    if dataset is None:
        return {}
    wanted = f"kind = '{kind}' AND starts_with(hash, '{prefix}')"
    rows = dataset.to_table(columns=["hash", "forgotten_at"], filter=wanted).to_pylist()
    return {row["hash"]: row["forgotten_at"] for row in rows}
