"""`clipflow.open(table)`: one object to read a table with, and to review it."""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import lance

from clipflow.explain import Explanation, explain
from clipflow.query.search import search
from clipflow.query.sql import sql
from clipflow.spec import StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.dataset import metadata
from clipflow.table.images import open_images
from clipflow.table.moved import current
from clipflow.table.queue import LISTED, Queue, read_queue
from clipflow.table.review import Review, ReviewReport, Verdict, review


@dataclass(frozen=True)
class Table:
    """A table, at its latest version whenever it is asked; once it was migrated, the one that took its place.

    Attributes:
        uri: Path or `s3://` URI of the images table.
    """

    uri: str
    storage: StorageSpec | None = None

    @property
    def images(self) -> lance.LanceDataset:
        """The images as a Lance dataset."""
        return open_images(current(TableAddress.of(self.uri, self.storage)))

    @property
    def metadata(self) -> dict[str, str]:
        """Schema version, encoder card and policy."""
        return metadata(self.images)

    def search(self, text: str | None = None, **how: Any) -> list[dict[str, Any]]:
        """See `query.search.search`."""
        return search(self.uri, text, storage=self.storage, **how)

    def sql(self, statement: str) -> list[dict[str, Any]]:
        """See `query.sql.sql`."""
        return sql(self.uri, statement, storage=self.storage)

    def queue(self, *, where: str | None = None, k: int = LISTED) -> Queue:
        """See `table.queue.read_queue`."""
        return read_queue(self.uri, where=where, k=k, storage=self.storage)

    def review(self, images: Sequence[str], verdict: Verdict | None, *, by: str, why: str) -> ReviewReport:
        """Give images a human's verdict, or with None withdraw it; see `table.review.review`."""
        return review(self.uri, images, Review(verdict, by, why), storage=self.storage)

    def explain(self, image: str) -> Explanation:
        """See `explain.explain`."""
        return explain(self.uri, image, storage=self.storage)


def open(table: str | PathLike[str], storage: StorageSpec | None = None) -> Table:
    """Open a table.

    Raises:
        TableError: There is no such table.
    """
    opened = Table(str(table), storage)
    _ = opened.images
    return opened
