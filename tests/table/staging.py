"""Rows staged as a worker would stage them, without a picture in sight."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipflow.assignment import Assignment
from clipflow.encoders import describe
from clipflow.report import RunReport
from clipflow.table.address import TableAddress
from clipflow.table.commit import Committer
from clipflow.table.decision import Landed
from clipflow.table.existing import Planned
from clipflow.table.images import ensure_images, open_images
from clipflow.table.runs import Operation
from clipflow.table.stage import Receipt, stage_rows
from tests.catalogues import job

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


def assignment(folder: Path, run_id: str) -> Assignment:
    """A run over the table `folder/t.lance`, which is made when it is missing."""
    spec = job(folder, folder / "t.lance")
    given = Assignment(spec, describe(spec.encoder), run_id, None, TableAddress.of(spec.table.uri))
    ensure_images(given.address, given.schema, given.about)
    return given


def staged(given: Assignment, *items: Mapping[str, Any]) -> Receipt:
    """One fragment; of each row: `key`, and what differs from a row embedded on the first day.

    `second` is when its source changed, `at` the microsecond of its embedding, `bytes` stand for the content; `prior`
    and `prior_row` are run and row id of the row that planning saw.
    """
    data = []
    for item in items:
        failed = item.get("code")
        row = {
            "image_id": f"{item['key']:032x}",
            "source_uri": f"file:///{item['key']}",
            "source_modified": BEGAN + timedelta(seconds=item.get("second", 0)),
            "content_sha256": f"{item.get('bytes', item.get('second', 0)):064x}",
            "status": "failed" if failed else item.get("status", "accepted"),
            "reasons": [failed] if failed else [],
            "outcome": "failed" if failed else "embedded",
            "run_id": given.run_id,
            "embedded_at": BEGAN + timedelta(days=1, microseconds=item.get("at", 0)),
            "prior_run_id": item.get("prior"),
            "prior_row_id": item.get("prior_row"),
            "place": item["key"] % 1_000_003,
        }
        data.append(row)
    table = pa.Table.from_pylist(data, given.flight)
    return stage_rows(table, {}, given.address, open_images(given.address))


def planned(given: Assignment, keys: Iterable[int]) -> tuple[Planned, dict[int, dict[str, Any]]]:
    """What a run plans now: how far it saw the table, and of keys that have a row `prior` and `prior_row`."""
    dataset = open_images(given.address)
    held = dataset.to_table(columns=["image_id", "run_id"], with_row_id=True).to_pylist()
    found = {row["image_id"]: {"prior": row["run_id"], "prior_row": row["_rowid"]} for row in held}
    return Planned.of(dataset), {key: found.get(f"{key:032x}", {}) for key in keys}


def commit(given: Assignment, *receipts: Receipt, seen: Planned | None = None) -> Landed:
    """One operation that commits once."""
    operation = Operation(given.address, given.record, RunReport(given.run_id))
    with operation:
        operation.open()
        return Committer(given, operation, seen).commit(receipts)
