"""Where a table and its two companions lie."""

import os
import re
from dataclasses import dataclass
from typing import Self

from clipflow.errors import TableError
from clipflow.spec import StorageSpec
from clipflow.storage import Storage

SUFFIX = ".lance"
_ODD = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class TableAddress:
    """The images table `<folder>/<name>.lance`; runs and tombstones lie in the same folder.

    Attributes:
        images: What Lance opens: an absolute path or an `s3://` URI.
        storage: How its store is reached.
    """

    images: str
    storage: Storage

    @classmethod
    def of(cls, uri: str, storage: StorageSpec | None = None) -> Self:
        """Raises TableError when the URI does not end in `.lance` or its scheme is unknown."""
        plain = uri.rstrip("/")
        scheme, separator, rest = plain.partition("://")
        if not plain.endswith(SUFFIX) or os.path.basename(plain) == SUFFIX:
            raise TableError(f"The table {uri} does not end in {SUFFIX}.", f"Name it {plain or 'catalog'}{SUFFIX}.")
        if separator and scheme == "file":
            plain = rest
        elif separator and scheme != "s3":
            raise TableError(f"The table {uri} lies on {scheme}://, which is not supported.", "Use a path or s3://.")
        if "://" not in plain:
            plain = os.path.abspath(os.path.expanduser(plain))
        if _ODD.search(plain):
            raise TableError(
                f"The table {plain!r} has a control character or a byte that is not UTF-8 in its path.",
                "Name another place: Lance takes no such path.",
            )
        return cls(plain, Storage.of(storage or StorageSpec()))

    @property
    def uri(self) -> str:
        """The table as people write it down: a path or an `s3://` URI."""
        return self.images

    @property
    def name(self) -> str:
        """The LanceDB name, e.g. `catalog`."""
        return os.path.basename(self.images).removesuffix(SUFFIX)

    @property
    def folder(self) -> str:
        """What `lancedb.connect` takes."""
        return os.path.dirname(self.images)

    @property
    def runs(self) -> str:
        """The table of operations."""
        return f"{self.images.removesuffix(SUFFIX)}_runs{SUFFIX}"

    @property
    def forgotten(self) -> str:
        """The table of tombstones."""
        return f"{self.images.removesuffix(SUFFIX)}_forgotten{SUFFIX}"

    @property
    def options(self) -> dict[str, str] | None:
        """Lance's storage options, read from the environment now; None for local paths."""
        return self.storage.lance_options(self.images)
