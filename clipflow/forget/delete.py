"""The logical deletion: forgotten rows vanish from the latest version, and every commit decided before fails."""

from dataclasses import dataclass, field, replace

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.forget.secrets import Secrets
from clipflow.table.address import TableAddress
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.runs import Operation
from clipflow.table.settling import change_without

_CHUNK = 10_000


@dataclass
class Deleted:
    """Rows that went: by image_id the number of their vector among the secrets, None where they had none."""

    vectors: dict[str, int | None] = field(default_factory=dict)
    addresses: list[int] = field(default_factory=list)


def delete(address: TableAddress, secrets: Secrets, operation: Operation) -> Deleted:
    """Remove all forgotten rows in one version, which is made even if there are none.

    A run that read the tombstones before they were all there decided on an older version: its commit conflicts,
    and it reads them again.
    """
    deleted = Deleted()

    def decide(dataset: lance.LanceDataset) -> Change:
        nonlocal deleted
        operation.ensure_open()
        deleted = forgotten_now(dataset, secrets)
        return replace(change_without(address, dataset, deleted.addresses), always=True)

    guarded_commit(address, address.images, decide, operation.properties)
    return deleted


def forgotten_now(dataset: lance.LanceDataset, secrets: Secrets) -> Deleted:
    """The forgotten rows of one version; what they say is learned."""
    deleted = Deleted()
    wanted = ["image_id", "content_sha256", "source_uri", "caption", "vector"]
    keys = dataset.scanner(columns=secrets.key_columns).to_batches()
    covered = [key for batch in keys for key in pc.filter(batch.column(0), secrets.covers(batch)).to_pylist()]
    for first in range(0, len(covered), _CHUNK):
        among = pc.field("image_id").isin(pa.array(covered[first : first + _CHUNK]))
        rows = dataset.to_table(columns=wanted, filter=among, with_row_address=True)
        deleted.addresses.extend(rows.column("_rowaddr").to_pylist())
        deleted.vectors |= secrets.learn(rows)
    return deleted
