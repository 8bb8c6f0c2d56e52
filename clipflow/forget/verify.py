"""Verification: every file under the table is read, raw and decoded, for what was forgotten.

What a row that stays holds too is no trace of the one that went: the same vector, a caption that is equal or
part of a longer one, an address that another begins with. Such values are exempt; the key of a forgotten address
never is, and that of another row only where new bytes came under its address.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from clipflow.forget.files import TableFiles
from clipflow.forget.secrets import ID, KEY, VECTOR, Secrets

_TOKENS = "_token"


@dataclass
class Search:
    """What was searched, and what was found.

    Attributes:
        files: Files read, `size` their bytes, and `decoded` those whose rows were read too.
        rows: Rows read.
        held: Numbers of vectors that rows which stay hold too.
        found: By file the kinds of what it holds.
    """

    secrets: Secrets
    files: int = 0
    size: int = 0
    decoded: int = 0
    rows: int = 0
    held: set[int] = field(default_factory=set)
    found: dict[str, set[str]] = field(default_factory=dict)
    _exempt: set[int] = field(default_factory=set)

    def data(self, name: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Rows of the table: forgotten ones are found, others exempt what they hold."""
        for batch in batches:
            self.rows += batch.num_rows
            if set(self.secrets.key_columns) <= set(batch.schema.names):
                covered = self.secrets.covers(batch)
                if pc.any(covered).as_py():
                    self._find(name, KEY)
                    batch = batch.filter(pc.invert(covered))
            for column, values in zip(batch.schema.names, batch.columns, strict=True):
                if column == "caption":
                    self._exempt.update(self._short(values))
                width = _row_bytes(values.type)
                for number, offset in self.secrets.needles.find(_bytes_of(values)):
                    kind = self.secrets.kinds[number]
                    if kind == KEY or (kind == ID and column != "image_id"):
                        self._find(name, KEY)
                    elif width is None or kind == VECTOR:
                        self._exempt.add(number)
                        if width is not None and offset % width == 0:
                            self.held.add(number)

    def index(self, name: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Rows of an index; call it when all rows of the table were seen."""
        for batch in batches:
            self.rows += batch.num_rows
            for column, values in zip(batch.schema.names, batch.columns, strict=True):
                # A word of a full-text index is no caption.
                if not column.startswith(_TOKENS):
                    self._hit(name, self._short(values))
                self._hit(name, (number for number, _ in self.secrets.needles.find(_bytes_of(values))))

    def raw(self, name: str, blocks: Iterable[bytes]) -> None:
        """A file's bytes; call it when all rows of the table were seen."""
        self.files += 1
        for block in blocks:
            self._hit(name, (number for number, _ in self.secrets.needles.find(block)))

    def _hit(self, name: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number not in self._exempt:
                self._find(name, self.secrets.kinds[number])

    def _find(self, name: str, kind: str) -> None:
        self.found.setdefault(name, set()).add(kind)

    def _short(self, values: pa.Array) -> list[int]:
        if not self.secrets.short or not pa.types.is_string(values.type):
            return []
        there = pc.filter(values, pc.is_in(values, value_set=pa.array(self.secrets.short, pa.string())))
        return [self.secrets.short[text] for text in there.unique().to_pylist()]


def verify(files: TableFiles, secrets: Secrets) -> Search:
    """Read everything under the table.

    Raises:
        StorageUnavailable, SourceError: A file could not be read.
    """
    search = Search(secrets)
    listed = files.listed()
    rest = []
    for name, size in listed.items():
        reader = files.decoded(name, size)
        if reader is not None and name.startswith("data/"):
            search.data(name, files.batches(name, reader))
        elif reader is not None:
            rest.append((name, reader))
        search.decoded += reader is not None
    for name, reader in rest:
        search.index(name, files.batches(name, reader))
    for name, size in listed.items():
        search.size += size
        search.raw(name, files.blocks(name, max(secrets.needles.longest - 1, 0)))
    return search


def _row_bytes(kind: pa.DataType) -> int | None:
    """How long a vector is; None for what is none."""
    if not pa.types.is_fixed_size_list(kind):
        return None
    width: int = kind.list_size * kind.value_type.bit_width // 8
    return width


def _bytes_of(values: pa.Array) -> bytes | memoryview:
    """The values of texts, bytes or vectors, one behind the other; nothing for other kinds."""
    kind = values.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_dictionary(kind):
        return _bytes_of(values.flatten() if not pa.types.is_dictionary(kind) else values.dictionary_decode())
    if pa.types.is_fixed_size_list(kind) and pa.types.is_primitive(kind.value_type):
        return memoryview(values.flatten().to_numpy(zero_copy_only=False)).cast("B")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_binary(kind):
        texts = values.drop_null().cast(pa.large_binary())
        ends = texts.buffers()[1]
        if not len(texts) or ends is None:
            return b""
        span = memoryview(ends).cast("q")[texts.offset : texts.offset + len(texts) + 1]
        data = texts.buffers()[2]
        return memoryview(data)[span[0] : span[-1]] if data is not None else b""
    return b""


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
