"""stage: judged rows become a fragment that nobody sees, and a receipt."""

import time

import numpy as np
import pyarrow as pa

from clipflow.assignment import CLOCKS, Assignment
from clipflow.table.dataset import open_dataset
from clipflow.table.images import check_encoder, ensure_images
from clipflow.table.stage import stage_rows


class Stage:
    """The stage that needs the table."""

    def __init__(self, assignment: Assignment) -> None:
        self._given = assignment

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Judged rows in, one row that is a `table.stage.Receipt` out."""
        started = time.perf_counter()
        given = self._given
        # Made when there is something to put in: an encoder that cannot be loaded must not claim a table.
        dataset = open_dataset(given.address)
        if dataset is None:
            dataset = ensure_images(given.address, given.schema, given.about)
        check_encoder(dataset, given.about)
        seconds = {clock: float(np.sum(rows.column(f"seconds_{clock}").to_numpy())) for clock in CLOCKS}
        receipt = stage_rows(rows, seconds, given.address, dataset)
        receipt.seconds["stage"] = time.perf_counter() - started
        return pa.Table.from_pylist([receipt.to_row()])
