"""stage: judged rows become a fragment that nobody sees, and a receipt."""

import time

import numpy as np
import pyarrow as pa

from clipflow.assignment import CLOCKS, Assignment
from clipflow.table.images import open_images
from clipflow.table.stage import stage_rows


class Stage:
    """The stage that needs the table."""

    def __init__(self, assignment: Assignment) -> None:
        self._given = assignment

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Judged rows in, one row that is a `table.stage.Receipt` out."""
        started = time.perf_counter()
        dataset = open_images(self._given.address)
        seconds = {clock: float(np.sum(rows.column(f"seconds_{clock}").to_numpy())) for clock in CLOCKS}
        receipt = stage_rows(rows, seconds, self._given.address, dataset)
        receipt.seconds["stage"] = time.perf_counter() - started
        return pa.Table.from_pylist([receipt.to_row()])
