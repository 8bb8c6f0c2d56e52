"""Rows whose object is gone."""

import os
from collections.abc import Iterator

import duckdb
import lance
import pyarrow as pa
import pyarrow.parquet as pq

from clipflow.schema import SOURCE_DELETED
from clipflow.source.exclude import Exclude
from clipflow.source.globs import is_glob
from clipflow.source.listing import Notes
from clipflow.source.objects import root_of
from clipflow.spec import JobSpec, SourceSpec
from clipflow.subtract.known import register
from clipflow.subtract.work import GONE, Subtraction
from clipflow.uri import local_path, shown

_BATCH_ROWS = 10_000


def find_gone(
    db: duckdb.DuckDBPyConnection,
    result: Subtraction,
    table: lance.LanceDataset,
    spec: JobSpec,
    notes: Notes,
    *,
    unbounded: bool,
) -> None:
    """Rows of the source whose object is gone: absent from all that it lists, or listed and not found any more.

    The table is looked through only where that can tell something: by a listing of the whole source, or an empty one.
    """
    source = spec.source
    asked = unbounded and source.deleted == "reject"
    if asked or not result.listed:
        _find_own(db, result, table, source)
    if source.deleted != "reject":
        return
    if not unbounded and result.listed:
        # What an interval lists is all that it can say anything of.
        result.held = result.listed
    missing = """
        SELECT image_id, source_uri, prior_run_id AS run_id FROM todo WHERE action = 'missing' AND NOT is_withdrawn
    """
    absent = """
        SELECT image_id, source_uri, run_id FROM own ANTI JOIN listed USING (image_id)
        WHERE image_id NOT IN (SELECT former_id FROM todo WHERE is_former)
    """
    found = db.sql(f"{absent} UNION ALL {missing}" if asked else missing).to_arrow_reader(_BATCH_ROWS)
    looked_at = _LookedAt(source, notes)
    result.gone = 0
    with pq.ParquetWriter(result.folder / "gone.parquet", GONE) as writer:
        for batch in found:
            batch = batch.filter(
                pa.array([looked_at(uri) for uri in batch.column("source_uri").to_pylist()], pa.bool_())
            )
            writer.write_batch(pa.RecordBatch.from_arrays([batch.column(0), batch.column(2)], schema=GONE))
            result.gone += batch.num_rows


def _find_own(
    db: duckdb.DuckDBPyConnection, result: Subtraction, table: lance.LanceDataset, source: SourceSpec
) -> None:
    """The rows of the source whose object should be there, as `own`."""
    # Of rows from before sources had names only those under a prefix can be told to be this one's.
    prefix = source.kind == "objects" and source.window != "path" and not is_glob(source.uri)
    root = root_of(source) if prefix else None
    older = "source_id IS NULL AND (source_uri = $root OR starts_with(source_uri, $folder))" if root else "false"
    register(db, "held", table, ["image_id", "source_uri", "source_id", "run_id", "status", "reasons"])
    db.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE own AS
        SELECT image_id, source_uri, run_id FROM held
        WHERE (source_id = $source OR {older}) AND status <> 'failed'
            AND NOT coalesce(list_contains(reasons, '{SOURCE_DELETED}'), false)
        """,
        {"source": source.source_id, **({"root": root, "folder": f"{root.rstrip('/')}/"} if root else {})},
    )
    ((result.held,),) = db.execute("SELECT count(*) FROM own").fetchall()


def warnings_of(result: Subtraction, spec: JobSpec, notes: Notes) -> Iterator[str]:
    """What people should look at, in sentences."""
    where = shown(spec.source.uri)
    if not result.listed and result.held:
        yield f"{where} lists no image, and the table holds {result.held} rows of it."
    if notes.unreadable:
        named = ", ".join(shown(one) for one in notes.unreadable[:3])
        more = ", …" * (len(notes.unreadable) > 3)
        yield f"{len(notes.unreadable)} folders may not be read: {named}{more}. Rows of what lies in them stay."


class _LookedAt:
    """Whether the listing would have found an address: a name that is left out, or a folder that may not be read, does
    not tell that what lies there is gone.
    """

    def __init__(self, source: SourceSpec, notes: Notes) -> None:
        self._exclude = Exclude.of(source)
        self._roots = tuple(notes.roots)
        self._unreadable = tuple(_verbatim(one) for one in notes.unreadable)

    def __call__(self, uri: str) -> bool:
        path = _verbatim(uri)
        # What a link leads to may lie in a folder, and be one.
        if self._unreadable and f"{path}/".startswith(self._unreadable):
            return False
        return not any(path.startswith(root) and self._exclude.leaves_out(path[len(root) :]) for root in self._roots)


def _verbatim(uri: str) -> str:
    """A path as the system has it, whatever its address encodes; another address as it is."""
    return os.fsdecode(local_path(uri)) if uri.startswith("file:") else uri
