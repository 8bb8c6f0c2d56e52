"""Tombstones: hashed identities that may not return."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from clipflow.table.address import TableAddress
from clipflow.table.dataset import open_dataset


@dataclass(frozen=True)
class Forgotten:
    """What was forgotten so far.

    Attributes:
        image_ids: Ids of forgotten addresses: they are already hashes.
        contents: sha256 of forgotten bytes, blocked under any name.
    """

    image_ids: frozenset[str] = frozenset()
    contents: frozenset[str] = frozenset()

    def covers(self, image_id: str, content_sha256: str | None) -> bool:
        """Whether a row may not exist."""
        return image_id in self.image_ids or content_sha256 in self.contents


def read_forgotten(address: TableAddress) -> Forgotten:
    """The tombstones now; none when nothing was ever forgotten."""
    dataset = open_dataset(address, address.forgotten)
    if dataset is None:
        return Forgotten()
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
