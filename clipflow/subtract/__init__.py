"""Subtract: what is listed, less what the table already holds.

The listing is spooled to a temporary file and joined with the table's key columns by DuckDB, which
spills to disk: memory stays flat in the number of images. The spool may be lost at the price of time only.
"""

from collections.abc import Iterable

import duckdb
import lance
import pyarrow as pa

from clipflow.scratch import scratch_refused
from clipflow.source.listing import Notes
from clipflow.spec import JobSpec
from clipflow.subtract.decide import decide
from clipflow.subtract.gone import find_gone, warnings_of
from clipflow.subtract.respell import respell
from clipflow.subtract.spool import spool
from clipflow.subtract.work import FETCH, GONE, REDECODE, REFRESH, Again, Subtraction, work_schema
from clipflow.table.existing import Planned
from clipflow.table.forgotten import Forgotten

__all__ = ["FETCH", "GONE", "REDECODE", "REFRESH", "Again", "Subtraction", "subtract", "work_schema"]

_MEMORY_LIMIT = "1GB"


def subtract(
    listing: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    table: lance.LanceDataset | None,
    forgotten: Forgotten,
    spec: JobSpec,
    *,
    unbounded: bool = True,
    again: Again | None = None,
    notes: Notes | None = None,
) -> Subtraction:
    """Spool the listing and decide, image by image, whether there is anything to do.

    Args:
        listing: Batches of `schema`; of lines with the same image_id the last wins.
        table: The images table, None when there is none yet; it is moved to its latest version.
        forgotten: Tombstones.
        unbounded: The listing holds all that the source has, so what is not in it is gone.
        again: What is done again by hand.
        notes: Filled by the listing; what it did not look at is not gone.
    """
    result = Subtraction(schema=work_schema(schema))
    notes = notes or Notes()
    try:
        lines, spelt = spool(listing, schema, result.folder / "listing.parquet")
        result.excluded = notes.excluded
        # In memory, and spilling: the name of a database's own file may hold less than that of a folder.
        with duckdb.connect(config={"temp_directory": str(result.folder / "spill")}) as db:
            db.execute(f"SET memory_limit='{_MEMORY_LIMIT}'; SET preserve_insertion_order=false; SET TimeZone='UTC'")
            db.from_parquet(str(result.folder / "listing.parquet")).create_view("lines")
            while True:
                if table is not None:
                    # Listing can take long, and a deletion removes the files of older versions at once.
                    table.checkout_latest()
                    result.planned = Planned.of(table)
                try:
                    respell(db, spelt, table, forgotten)
                    decide(db, result, lines, table, forgotten, spec, again or Again())
                    if table is not None:
                        find_gone(db, result, table, spec, notes, unbounded=unbounded)
                    result.warnings = list(warnings_of(result, spec, notes))
                    break
                except (duckdb.Error, ValueError, OSError):
                    # It may have done so while the table was read.
                    if table is None or table.latest_version == table.version:
                        raise
    except BaseException as error:
        result.cleanup()
        if (refused := scratch_refused(error)) is not None:
            raise refused from error
        raise
    return result
