"""Reading a table file as a manifest does."""

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from clipflow.errors import UsageError
from clipflow.source import list_source
from clipflow.source.rows import Kind, read_rows
from clipflow.spec import SourceSpec, StorageSpec
from clipflow.storage import Storage
from clipflow.uri import canonical

WANTED: dict[str, Kind] = {"uri": "text", "caption": "text", "who": "value"}


def write(path: Path, content: bytes | str | pa.Table) -> Path:
    if isinstance(content, pa.Table):
        parquet.write_table(content, path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def cells(path: Path, wanted: dict[str, Kind] | None = None) -> list[dict[str, Any]]:
    """The cells of every row; those of `wanted` that the file has."""
    kinds = WANTED if wanted is None else wanted

    def check(found: list[str], address: str) -> dict[str, Kind]:
        return {name: kind for name, kind in kinds.items() if name in found}

    return [row.values for row in read_rows(Storage.of(StorageSpec()), canonical(path), check)]


def refused(path: Path, place: str, wanted: dict[str, Kind] | None = None) -> str:
    """What the error says, which names the place and shows nothing that a terminal would obey."""
    with pytest.raises(UsageError) as caught:
        cells(path, wanted)
    text = str(caught.value)
    assert re.search(rf"{place}(?!\d)", text), text
    assert text.isprintable()
    assert len(text) < 1000
    return text


def listed(path: Path, **keys: Any) -> list[dict[str, Any]]:
    source = SourceSpec(kind="manifest", uri=str(path), **keys)
    return [row for batch in list_source(source) for row in batch.to_pylist()]
