"""Tables to forget from, and a search of their files that knows nothing of the engine's own."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from lance.file import LanceFileReader

from clipflow.assignment import Assignment
from clipflow.encoders import describe
from clipflow.table.address import TableAddress
from clipflow.table.images import ensure_images, open_images
from clipflow.table.stage import Receipt, stage_rows
from clipflow.uri import image_id
from tests.catalogues import job
from tests.table.staging import BEGAN, commit


def uri_of(key: int) -> str:
    return f"s3://bucket/uploads/{key:05}.jpg"


def content_of(seed: int) -> str:
    return f"{seed * 2654435761 % 2**64:016x}" * 4


def vector_of(seed: int, dim: int = 16) -> np.ndarray:
    """The same for the same bytes."""
    values = np.random.default_rng(seed).standard_normal(dim)
    return (values / np.linalg.norm(values)).astype(np.float32)


def assignment(folder: Path, run_id: str, vector: str = "float16") -> Assignment:
    source = {"kind": "manifest", "caption": "caption", "attributes": ["uploader"]}
    spec = job(folder / "list.csv", folder / "t.lance", source=source, table={"vector": vector})
    given = Assignment(spec, describe(spec.encoder), run_id, None, TableAddress.of(spec.table.uri))
    ensure_images(given.address, given.schema, given.about)
    return given


def staged(given: Assignment, items: Iterable[Mapping[str, Any]]) -> Receipt:
    """One fragment; of each row: `key`, `bytes` (a seed), `caption`, `failed`, `second` of its source."""
    kind = np.float16 if given.spec.table.vector == "float16" else np.float32
    data = [
        {
            "image_id": image_id(uri_of(item["key"])),
            "source_uri": uri_of(item["key"]),
            "source_modified": BEGAN.replace(second=item.get("second", 0)),
            "content_sha256": content_of(item.get("bytes", item["key"])),
            "caption": item.get("caption"),
            "attr_uploader": item.get("uploader"),
            "status": "failed" if item.get("failed") else "accepted",
            "reasons": ["corrupt"] if item.get("failed") else [],
            "outcome": "failed" if item.get("failed") else "embedded",
            "run_id": given.run_id,
            "embedded_at": BEGAN,
            "prior_run_id": item.get("prior"),
            "place": item["key"] % 1_000_003,
            "vector": None if item.get("failed") else vector_of(item.get("bytes", item["key"])).astype(kind),
        }
        for item in items
    ]
    return stage_rows(pa.Table.from_pylist(data, given.flight), {}, given.address, open_images(given.address))


def fill(folder: Path, *groups: list[dict[str, Any]], vector: str = "float16") -> None:
    """One commit, and so a fragment and a version, a group."""
    for number, group in enumerate(groups):
        given = assignment(folder, f"fill-{number}", vector)
        commit(given, staged(given, group))


def files_of(table: Path) -> dict[str, bytes]:
    return {str(path.relative_to(table)): path.read_bytes() for path in table.rglob("*") if path.is_file()}


def holders(table: Path, needle: bytes) -> list[str]:
    """Files whose bytes hold the needle."""
    return [name for name, data in files_of(table).items() if needle in data]


def values(table: Path) -> dict[str, set[Any]]:
    """By column all values of all Lance files, whether a version names them or not; vectors as bytes."""
    found: dict[str, set[Any]] = {name: set() for name in ("image_id", "source_uri", "caption", "vector")}
    found["content_sha256"] = set()
    for path in [*table.rglob("*.lance"), *table.rglob("*.idx")]:
        if not path.is_file():
            continue
        for batch in (
            LanceFileReader(str(path)).read_all().to_batches() if LanceFileReader(str(path)).num_rows() else ()
        ):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                seen = found.setdefault(name, set())
                if pa.types.is_fixed_size_list(column.type):
                    seen.update(row.values.to_numpy().tobytes() for row in column if row.is_valid)
                elif pa.types.is_string(column.type):
                    seen.update(column.to_pylist())
    return found


def index(table: Path) -> None:
    """A vector index, and three of other kinds."""
    dataset = lance.dataset(str(table))
    dataset.create_index("vector", "IVF_PQ", "vector_idx", metric="cosine", num_partitions=2, num_sub_vectors=2)
    dataset = lance.dataset(str(table))
    dataset.create_scalar_index("content_sha256", "BTREE", "content_idx")
    dataset.create_scalar_index("source_uri", "BITMAP", "uri_idx")
    dataset.create_scalar_index("caption", "INVERTED", "caption_idx", with_position=True, stem=False)
