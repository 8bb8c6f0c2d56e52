"""The queue of a table: rows that its rules would have a human look at."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.errors import QueryError
from clipflow.policy.finding import findings
from clipflow.policy.verdict import score_column
from clipflow.spec import PolicySpec, StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.condition import check_condition
from clipflow.table.images import about_images, open_images, policy_of
from clipflow.table.moved import current

IN_QUEUE = "status = 'review'"
LISTED = 20

_SHOWN = ("image_id", "source_uri", "reasons", "caption", "embedded_at")


@dataclass(frozen=True)
class Queue:
    """The front of the queue.

    Attributes:
        rows: image_id, source_uri, reasons, caption, embedded_at, and `scores`: of every rule that fired its value and
            bounds, see `policy.finding.Finding`.
        matching: Rows of the queue that the condition leaves; all without one.
        queue: Rows in status review.
    """

    table: str
    version: int
    rows: list[dict[str, Any]]
    matching: int
    queue: int

    def document(self) -> dict[str, Any]:
        """As plain data, the JSON of `clipflow review --list --json`."""
        return asdict(self)

    def text(self) -> str:
        """As a few lines for people."""
        lines = []
        for row in self.rows:
            scores = ", ".join(_score_text(score) for score in row["scores"])
            lines.append(f"{row['image_id']}  {row['source_uri']}\n    {scores}  {row['caption'] or ''}".rstrip())
        lines.append(f"{self.matching - len(self.rows)} more; {self.queue} rows wait for a review")
        return "\n".join(lines)


def read_queue(table: str, *, where: str | None = None, k: int = LISTED, storage: StorageSpec | None = None) -> Queue:
    """The first `k` rows of the queue, the one embedded first at its head; ties by image_id.

    Args:
        where: An SQL condition on the table's columns.

    Raises:
        QueryError: The condition cannot be used, or k is not positive.
        TableError: There is no such table.
    """
    if k < 1:
        raise QueryError(f"k is {k}; it must be 1 or more.", "Give -k 20.")
    address = current(TableAddress.of(table, storage))
    dataset = open_images(address)
    policy = policy_of(about_images(dataset))
    if where:
        check_condition(dataset, where)
    condition = f"({where}) AND {IN_QUEUE}" if where else IN_QUEUE
    waiting = dataset.to_table(columns=["embedded_at", "image_id"], filter=condition)
    first = waiting.sort_by([("embedded_at", "ascending"), ("image_id", "ascending")]).column("image_id")[:k]
    queue = dataset.count_rows(IN_QUEUE) if where else len(waiting)
    rows = _described(dataset, policy, first.to_pylist())
    return Queue(address.uri, int(dataset.version), rows, len(waiting), queue)


def _described(dataset: lance.LanceDataset, policy: PolicySpec, ids: Sequence[str]) -> list[dict[str, Any]]:
    scores = {score_column(rule) for rule in policy.rules} & set(dataset.schema.names)
    wanted = pc.field("image_id").isin(pa.array(ids, pa.string()))
    found = dataset.to_table(columns=[*_SHOWN, *sorted(scores)], filter=wanted)
    by_id = {}
    for row, of_rules in zip(found.select(_SHOWN).to_pylist(), findings(policy, found), strict=True):
        by_id[row["image_id"]] = row | {"scores": [one.document() for one in of_rules if one.fired]}
    return [by_id[key] for key in ids]


def _score_text(score: dict[str, Any]) -> str:
    beyond = ", ".join(f"{key} {score['bounds'][key]:g}" for key in score["fired"])
    return f"{score['rule']} {score['value']:.4g} ({beyond})"
