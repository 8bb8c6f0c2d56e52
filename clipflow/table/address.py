"""Where a table and its two companions lie."""

import os
import re
from dataclasses import dataclass
from typing import Self

from clipflow.errors import SourceError, TableError
from clipflow.spec import StorageSpec
from clipflow.storage import Storage
from clipflow.uri import canonical, shown

SUFFIX = ".lance"
_JOBS = (".yaml", ".yml", ".json")
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
        """Raises TableError when the URI does not end in `.lance`, is of an unknown scheme, or carries a password."""
        plain = uri.rstrip("/")
        scheme, separator, rest = plain.partition("://")
        if not plain.endswith(SUFFIX) or os.path.basename(plain) == SUFFIX:
            name = shown(uri)
            if plain.lower().endswith(_JOBS):
                raise TableError(f"{name} is no table; it may be a job.", "Name what stands there under table.uri.")
            mend = f"Name it {shown(plain) or 'catalog'}{SUFFIX}."
            if "://" not in plain and (tables := _tables_in(plain)):
                mend = f"It is a folder, and holds {', '.join(tables)}."
            raise TableError(f"The table {name} does not end in {SUFFIX}.", mend)
        if separator and scheme == "file":
            plain = rest
        elif separator and scheme != "s3":
            raise TableError(
                f"The table {shown(uri)} lies on {scheme}://, which is not supported.", "Use a path or s3://."
            )
        elif separator:
            try:
                canonical(plain)
            except SourceError as error:  # it carries a user or a password, which would be stored with every run
                raise TableError(error.message, error.mend) from None
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


def _tables_in(folder: str) -> list[str]:
    """The images tables in a local folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    beside = (f"_runs{SUFFIX}", f"_forgotten{SUFFIX}")
    return [os.path.join(folder, name) for name in sorted(names) if name.endswith(SUFFIX) and not name.endswith(beside)]
