"""Movement: which rows, and which groups of them, another policy moves from one status to another."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.audit.view import grouping
from clipflow.documents import to_json
from clipflow.errors import UsageError
from clipflow.files import write_file
from clipflow.judging import Found
from clipflow.uri import shown

_FORMATS = (".csv", ".jsonl")
_BLOCK = 8_192


@dataclass(frozen=True)
class Movement:
    """What moves.

    Attributes:
        rows: image_id, source_uri, from, to, reasons_before, reasons_after of every row whose status changes, then the
            columns to group by, in the order of the table.
        groups: By column, the group in which most rows move first: {column, value, rows, changed, moves[]}, where rows
            counts the group and moves are {from, to, rows}.
    """

    rows: pa.Table
    groups: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, dataset: lance.LanceDataset, found: Found, by: Sequence[str]) -> "Movement":
        """Of the version that was judged.

        Raises:
            QueryError: A column of `by` is not there, or makes no groups.
        """
        columns = {name: grouping(name, dataset.schema) for name in dict.fromkeys(by)}
        before, after = found.census.strings("status"), found.settled.verdicts.status
        places = np.flatnonzero(pc.not_equal(before, after).to_numpy(zero_copy_only=False))
        taken = pa.array(places)
        told = found.census.rows(places, list(dict.fromkeys(["source_uri", *columns.values()])))
        rows = {
            "image_id": found.census.image_id.take(taken),
            "source_uri": told.column("source_uri"),
            "from": before.take(taken),
            "to": after.take(taken),
            "reasons_before": found.census.reasons().take(taken),
            "reasons_after": found.settled.verdicts.reasons.take(taken),
        }
        rows |= {name: told.column(column) for name, column in columns.items() if name not in rows}
        return cls(
            pa.table(rows), [one for name, at in columns.items() for one in _groups(dataset, name, at, told, rows)]
        )

    def write(self, name: str) -> None:
        """The rows as .csv or .jsonl, by a path or on S3; in csv reasons are joined by a semicolon.

        Raises:
            UsageError: The file cannot be written.
            StorageUnavailable: Storage did not answer.
        """
        lines = _csv(self.rows) if name.lower().endswith(".csv") else _jsonl(self.rows)
        write_file(name, "".join(lines).encode(), "list")


def check_list(name: str) -> None:
    """Raises UsageError when a name says neither csv nor jsonl: before anything is judged."""
    if not name.lower().endswith(_FORMATS):
        raise UsageError(f"--list {shown(name)} says no format.", "Let the file end in .csv or .jsonl.")


def _groups(
    dataset: lance.LanceDataset, name: str, column: str, told: pa.Table, rows: dict[str, Any]
) -> list[dict[str, Any]]:
    sizes: Counter[Any] = Counter()
    for batch in dataset.scanner(columns=[column]).to_batches():
        counts = batch.column(0).value_counts()
        sizes.update(dict(zip(*(counts.field(at).to_pylist() for at in ("values", "counts")), strict=True)))
    values = (told.column(column), rows["from"], rows["to"])
    moved = Counter(zip(*(one.to_pylist() for one in values), strict=True))
    found: dict[Any, list[dict[str, Any]]] = {value: [] for value in sizes}
    for (value, before, after), count in sorted(moved.items(), key=lambda one: one[0][1:]):
        found[value].append({"from": before, "to": after, "rows": count})
    groups = [
        {"column": name, "value": value, "rows": sizes[value], "changed": sum(m["rows"] for m in moves), "moves": moves}
        for value, moves in found.items()
    ]
    return sorted(groups, key=lambda one: (-one["changed"], -one["rows"], str(one["value"])))


def _plain(rows: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in rows.to_batches(_BLOCK):
        yield from batch.to_pylist()


def _jsonl(rows: pa.Table) -> Iterator[str]:
    return (to_json(row) + "\n" for row in _plain(rows))


def _csv(rows: pa.Table) -> Iterator[str]:
    yield _line(rows.column_names)
    for row in _plain(rows):
        # As JSON writes it, so that a time reads the same in both formats.
        plain = json.loads(to_json(row))
        yield _line([";".join(value) if isinstance(value, list) else value for value in plain.values()])


def _line(values: Sequence[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()
