"""Whole rows out of the table, and changed copies of them back in: how a verb changes rows without staging any."""

from collections.abc import Collection

import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.table.address import TableAddress
from clipflow.table.forgotten import read_forgotten
from clipflow.table.guard import Change
from clipflow.table.settling import settled_change


def whole_rows(address: TableAddress, dataset: lance.LanceDataset, image_ids: Collection[str]) -> pa.Table:
    """Every column of the rows with these ids at the dataset's version, and `_rowaddr`.

    Rows that were forgotten meanwhile are left out: a copy of one would bring it back.
    """
    wanted = pc.field("image_id").isin(pa.array(image_ids, pa.string()))
    rows: pa.Table = dataset.to_table(filter=wanted, with_row_address=True)
    forgotten = read_forgotten(address)
    pairs = zip(rows.column("image_id").to_pylist(), rows.column("content_sha256").to_pylist(), strict=True)
    return rows.filter(pa.array([not forgotten.covers(*pair) for pair in pairs], pa.bool_()))


def replace_rows(address: TableAddress, dataset: lance.LanceDataset, rows: pa.Table) -> Change:
    """The change that puts these copies in the place of the rows they were made from; others may follow from it.

    Args:
        dataset: At the version that the change is decided on.
        rows: As `whole_rows` gives them, with other values.
    """
    if not len(rows):
        return Change()
    addresses = rows.column("_rowaddr").to_pylist()
    return settled_change(address, dataset, rows.drop_columns(["_rowaddr"]), addresses)
