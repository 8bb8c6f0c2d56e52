"""What no file may hold any more: keys, addresses, captions, vectors. It is held in memory only, and never logged."""

from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from clipflow.forget.files import TableFiles
from clipflow.forget.needles import ANCHOR, Needles
from clipflow.schema import TIME
from clipflow.table.forgotten import Forgotten
from clipflow.table.retention import AGE

_KEYS = ["image_id", "content_sha256"]
_WORDS = {"source_uri": "uri", "caption": "caption", "content_sha256": "sha256"}

KEY, ID, VECTOR = "key", "id", "vector"


class Secrets:
    """Values by number, each of a kind: key (of a forgotten address), id (of other rows), uri, sha256, caption, vector.

    Args:
        forgotten: All tombstones: what an earlier, interrupted deletion left is found by a later one.
        uris: Addresses that the requests named.
        before: Rows of an older source are forgotten too, without a tombstone.
    """

    def __init__(self, forgotten: Forgotten, uris: frozenset[str], before: datetime | None = None) -> None:
        self.key_columns = [*_KEYS, *(AGE if before else ())]
        self._before = before
        self._forgotten = forgotten
        self.needles = Needles()
        self.kinds: list[str] = []
        self.short: dict[str, int] = {}
        self._ids = pa.array(sorted(forgotten.image_ids), pa.string())
        self._contents = pa.array(sorted(forgotten.contents), pa.string())
        for key in forgotten.image_ids:
            self._add(KEY, key.encode())
        for content in forgotten.contents:
            self._add("sha256", content.encode())
        for uri in uris:
            self._text("uri", uri)

    def covers(self, rows: pa.RecordBatch | pa.Table) -> pa.Array | pa.ChunkedArray:
        """Which rows are forgotten; boolean, one a row. Needs the `key_columns`."""
        named = pc.or_(
            pc.is_in(rows.column("image_id"), value_set=self._ids),
            pc.is_in(rows.column("content_sha256"), value_set=self._contents),
        )
        if self._before is None:
            return named
        old = pc.less(pc.coalesce(*(rows.column(name) for name in AGE)), pa.scalar(self._before, TIME))
        return pc.or_(named, pc.fill_null(old, False))

    def learn(self, rows: pa.Table) -> dict[str, int | None]:
        """Keep what forgotten rows say.

        Args:
            rows: With image_id and, where the file has them, content_sha256, source_uri, caption and vector.

        Returns:
            By image_id the number of its vector, None where it has none.
        """
        for name, kind in _WORDS.items():
            if name in rows.column_names:
                for text in rows.column(name).drop_null().unique().to_pylist():
                    self._text(kind, text)
        ids = rows.column("image_id").to_pylist()
        for key in ids:
            self._add(KEY if key in self._forgotten.image_ids else ID, key.encode())
        if "vector" not in rows.column_names:
            return dict.fromkeys(ids)
        vectors = rows.column("vector").combine_chunks()
        return {key: self._vector(vector) for key, vector in zip(ids, vectors, strict=True)}

    def _text(self, kind: str, text: str) -> None:
        if len(data := text.encode()) >= ANCHOR:
            self._add(kind, data)
        elif text and text not in self.short:
            self.short[text] = len(self.kinds)
            self.kinds.append(kind)

    def _vector(self, vector: pa.FixedSizeListScalar) -> int | None:
        if not vector.is_valid:
            return None
        values = vector.values.to_numpy(zero_copy_only=False)
        if values.nbytes < ANCHOR:
            return None
        number = self._add(VECTOR, values.tobytes())
        # Indexes compute in float32.
        self.needles.add(values.astype("<f4").tobytes(), number)
        return number

    def _add(self, kind: str, data: bytes) -> int:
        number = self.needles.add(data, len(self.kinds))
        if number == len(self.kinds):
            self.kinds.append(kind)
        return number


def gather_secrets(files: TableFiles, secrets: Secrets) -> None:
    """Learn every form in which a forgotten row stands in a data file, named by a version or not."""
    for name, size in files.listed().items():
        for rows in forgotten_rows(files, name, size, secrets):
            secrets.learn(rows)


def forgotten_rows(files: TableFiles, name: str, size: int, secrets: Secrets) -> list[pa.Table]:
    """The forgotten rows of a data file, deleted ones included; none for other files."""
    if not name.startswith("data/") or (reader := files.decoded(name, size)) is None:
        return []
    there = reader.metadata().schema.names
    if not set(secrets.key_columns) <= set(there):
        return []
    keys = files.decoded(name, size, secrets.key_columns)
    covered = [secrets.covers(batch) for batch in files.batches(name, keys)] if keys is not None else []
    places = pc.indices_nonzero(pa.chunked_array(covered, pa.bool_())).to_pylist()
    if not places:
        return []
    wanted = [column for column in (*_KEYS, *_WORDS, VECTOR) if column in there]
    rows = files.decoded(name, size, list(dict.fromkeys(wanted)))
    return [rows.take_rows(places).to_table()] if rows is not None else []
