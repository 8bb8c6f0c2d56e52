"""Bytes that the table knows: the same bytes are never embedded twice, whatever they are called."""

import threading
from collections.abc import Callable, Iterable

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.schema import PIXEL_COLUMNS
from clipflow.table.address import TableAddress
from clipflow.table.dataset import open_dataset
from clipflow.table.images import check_encoder

COPIED = ("image_id", "content_sha256", *PIXEL_COLUMNS, "embedded_at", "vector")

Row = dict[str, object]


class KnownBytes:
    """Finds rows of the table by content or by id, as of the latest version.

    Of every row 8 bytes of its content's hash are held, and new versions are read as they come, so that
    a batch whose bytes are new costs no scan. A table that is not there yet knows none. Threads may share one.

    Args:
        about: The metadata that the run would give the table.

    Raises:
        EncoderMismatch: The table holds vectors of another encoder; on any call, where it came meanwhile.
    """

    def __init__(self, address: TableAddress, about: dict[str, str]) -> None:
        self._lock = threading.Lock()
        self._address, self._about = address, about
        self._dataset: lance.LanceDataset | None = None
        self._version = 0
        self._prefixes = np.empty(0, np.uint64)
        self._refresh()

    def by_content(self, contents: Iterable[str]) -> dict[str, Row]:
        """Rows that have a vector, one per content hash that is known."""
        wanted = list(dict.fromkeys(contents))
        return self._at_latest(lambda: self._rows("content_sha256", self._held(wanted))) if wanted else {}

    def by_id(self, image_ids: Iterable[str]) -> dict[str, Row]:
        """Rows that have a vector, by image_id."""
        wanted = list(image_ids)
        return self._at_latest(lambda: self._rows("image_id", wanted)) if wanted else {}

    def _at_latest(self, read: Callable[[], dict[str, Row]]) -> dict[str, Row]:
        with self._lock:
            while True:
                try:
                    self._refresh()
                    return read()
                except (ValueError, OSError):
                    # Who forgets a row removes the files of older versions at once, also under a reader.
                    if self._dataset is None or self._dataset.latest_version == self._dataset.version:
                        raise

    def _held(self, contents: list[str]) -> list[str]:
        """Those that the table may hold: another content can begin as one of its does."""
        if not len(self._prefixes):
            return []
        prefixes = _prefixes(contents)
        places = np.minimum(np.searchsorted(self._prefixes, prefixes), len(self._prefixes) - 1)
        return [contents[i] for i in np.flatnonzero(self._prefixes[places] == prefixes)]

    def _rows(self, column: str, values: list[str]) -> dict[str, Row]:
        if not values or self._dataset is None:
            return {}
        wanted = pc.field(column).isin(pa.array(values)) & (pc.field("status") != "failed")
        found: pa.Table = self._dataset.to_table(columns=list(COPIED), filter=wanted)
        vectors = found.column("vector").combine_chunks()
        width = vectors.type.list_size
        flat = vectors.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
        rows = found.drop_columns(["vector"]).to_pylist()
        return {str(row[column]): {**row, "vector": flat[i]} for i, row in enumerate(rows)}

    def _refresh(self) -> None:
        if self._dataset is None:
            self._dataset = open_dataset(self._address)
            if self._dataset is None:
                return
            check_encoder(self._dataset, self._about)
        self._dataset.checkout_latest()
        if self._dataset.version == self._version:
            return
        rows = self._dataset.scanner(
            columns=["content_sha256"],
            filter=f"_row_created_at_version > {self._version} AND content_sha256 IS NOT NULL AND status != 'failed'",
        )
        for batch in rows.to_batches():
            fresh = _prefixes(batch.column(0).to_pylist())
            self._prefixes = np.concatenate([self._prefixes, fresh])
        self._prefixes.sort()
        self._version = self._dataset.version


def _prefixes(contents: list[str]) -> np.ndarray:
    return np.fromiter((int(content[:16], 16) for content in contents), np.uint64, len(contents))
