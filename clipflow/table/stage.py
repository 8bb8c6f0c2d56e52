"""Staging: rows become files under the table that no version names yet, and a receipt for the driver.

The receipt is all that travels back: the fragment's description, and of each row what the commit must know.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import lance
import pyarrow as pa
import pyarrow.compute as pc
from lance.fragment import FragmentMetadata

from clipflow.schema import TIME
from clipflow.table.address import TableAddress
from clipflow.table.forgotten import Forgotten, read_forgotten
from clipflow.table.guard import write_fragments

Triple = tuple[int, str, str]

KEYS = pa.schema(
    [
        pa.field("image_id", pa.string()),
        pa.field("outcome", pa.string()),
        pa.field("status", pa.string()),
        pa.field("reasons", pa.list_(pa.string())),
        pa.field("content_sha256", pa.string()),
        pa.field("source_etag", pa.string()),
        pa.field("source_modified", TIME),
        pa.field("embedded_at", TIME),
        pa.field("attempts", pa.int32()),
        pa.field("first_seen_at", TIME),
        # The run that wrote the row which planning saw, if any: replacing just that row is what was planned.
        pa.field("prior_run_id", pa.string()),
        pa.field("prior_row_id", pa.uint64()),
        # Of a path that is not UTF-8 the id under its former spelling, where planning saw such a row of it.
        pa.field("former_id", pa.string()),
        # Where the row stands in the run's work: each place lands once, even if a stage ran twice.
        pa.field("place", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Receipt:
    """Staged rows that wait for their commit.

    Attributes:
        fragments: What Lance needs to know of the files.
        triples: (field id, name, type) of every column the files were written for.
        keys: One row per staged row, in file order; schema `KEYS`.
        seconds: Busy seconds by step.
        precisions: What the rows' vectors were computed in.
    """

    fragments: list[FragmentMetadata]
    triples: list[Triple]
    keys: pa.Table
    seconds: dict[str, float]
    precisions: frozenset[str] = frozenset()

    def to_row(self) -> dict[str, Any]:
        """As one plain row, for the object store."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, KEYS) as writer:
            writer.write_table(self.keys)
        return {
            "fragments": json.dumps([fragment.to_json() for fragment in self.fragments]),
            "triples": json.dumps(self.triples),
            "keys": sink.getvalue().to_pybytes(),
            "seconds": json.dumps(self.seconds),
            "precisions": json.dumps(sorted(self.precisions)),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The inverse of `to_row`."""
        with pa.ipc.open_stream(row["keys"]) as reader:
            keys = reader.read_all()
        return cls(
            [FragmentMetadata.from_json(json.dumps(fragment)) for fragment in json.loads(row["fragments"])],
            [(number, name, kind) for number, name, kind in json.loads(row["triples"])],
            keys,
            json.loads(row["seconds"]),
            frozenset(json.loads(row["precisions"])),
        )


def triples_of(dataset: lance.LanceDataset) -> list[Triple]:
    """(field id, name, type) of every column of the dataset at its version."""

    def walk(field: Any, prefix: str) -> list[Triple]:
        name = f"{prefix}{field.name()}"
        below = [triple for child in field.children() for triple in walk(child, f"{name}.")]
        return [(field.id(), name, str(field.to_arrow().type)), *below]

    return [triple for field in dataset.lance_schema.fields() for triple in walk(field, "")]


def stage_rows(
    rows: pa.Table, seconds: Mapping[str, float], address: TableAddress, dataset: lance.LanceDataset
) -> Receipt:
    """Write judged rows for the table as `dataset` sees it; of forgotten ones only their places.

    Args:
        rows: As `Embed` gives them: the table's columns, and the bookkeeping that the receipt takes over.
        seconds: Busy seconds by step.
    """
    precisions = frozenset(rows.column("precision").drop_null().to_pylist())
    keys = rows.select(KEYS.names).cast(KEYS)
    # The commit drops them anyway, but their values would stay in the file until a clean-up.
    rows = _blanked(rows, read_forgotten(address))
    return Receipt(write_rows(rows, address, dataset), triples_of(dataset), keys, dict(seconds), precisions)


def _blanked(rows: pa.Table, forgotten: Forgotten) -> pa.Table:
    pairs = zip(rows.column("image_id").to_pylist(), rows.column("content_sha256").to_pylist(), strict=True)
    stays = pa.array([not forgotten.covers(*pair) for pair in pairs], pa.bool_())
    if pc.all(stays).as_py():
        return rows
    # Rows are copied, not set to null: under a null the value would still be there, and be written.
    kept = rows.filter(stays)
    blank = pa.Table.from_pylist([{"image_id": ""}], rows.schema)
    places = pc.if_else(stays, pc.subtract(pc.cumulative_sum(stays.cast(pa.int64())), 1), len(kept))
    return pa.concat_tables([kept, blank]).take(places)


def write_rows(rows: pa.Table, address: TableAddress, dataset: lance.LanceDataset) -> list[FragmentMetadata]:
    """Fragments for the table as `dataset` sees it; columns the rows lack become null, others are left out."""
    schema = dataset.schema.remove_metadata()
    return write_fragments(fit(rows, schema), address, address.images, schema)


def fit(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with just the columns of the schema, in its order; missing ones are null."""
    columns = [
        rows.column(field.name).cast(field.type) if field.name in rows.column_names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
