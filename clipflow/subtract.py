"""Subtract: what is listed, less what the table already holds.

The listing is spooled to a temporary file and joined with the table's key columns by DuckDB, which
spills to disk: memory stays flat in the number of images. The spool may be lost at the price of time only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import lance
import pyarrow as pa
import pyarrow.parquet as pq

from clipflow.failures import FINAL
from clipflow.schema import COLUMNS, SOURCE_DELETED, SOURCE_STATE
from clipflow.scratch import Scratch
from clipflow.spec import JobSpec
from clipflow.table.existing import Planned
from clipflow.table.forgotten import Forgotten
from clipflow.table.retention import kept_from
from clipflow.uri import canonical

_MEMORY_LIMIT = "1GB"
_KNOWN = ["image_id", *SOURCE_STATE, "caption", "status", "reasons", "attempts", "run_id"]

_ADDED = ("action", "attempts", "prior_run_id", "prior_row_id", "place")

FETCH, REFRESH = "fetch", "refresh"


def work_schema(listing: pa.Schema) -> pa.Schema:
    """The columns of images that need work: the listing's, and five more.

    action: `fetch`, or `refresh` when the bytes are known to be the same and only the row's words change;
    attempts: how often this state of the source failed before;
    prior_run_id, prior_row_id: the run that wrote the row to replace, and Lance's id of that row, if there is one;
    place: the image's place in the work, from 0.
    """
    more = [
        pa.field("action", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("prior_run_id", pa.string()),
        pa.field("prior_row_id", pa.uint64()),
        pa.field("place", pa.int64()),
    ]
    return pa.schema([*listing, *more])


@dataclass
class Subtraction:
    """The outcome, and the work that is left. Use it as a context manager: it owns temporary files.

    Attributes:
        listed: Distinct images.
        repeated: Listing lines beyond the first of an image.
        to_fetch: Images that need work, whether bytes are fetched or only the row is refreshed.
        bytes: Sum of the sizes of the images whose bytes will be fetched, where the store says them.
        gone: Rows under the listed prefix whose object is not there any more; looked for when the job asks.
        gets: Images whose bytes will be fetched.
        unsized: Those of them whose size the store does not say.
        replaced: Images that need work and have a row.
        planned: What was seen of the table.
    """

    listed: int = 0
    repeated: int = 0
    unchanged: int = 0
    forgotten: int = 0
    to_fetch: int = 0
    bytes: int = 0
    gone: int = 0
    gets: int = 0
    unsized: int = 0
    replaced: int = 0
    planned: Planned = field(default_factory=Planned)
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    _scratch: Scratch = field(default_factory=Scratch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._scratch.cleanup()

    @property
    def folder(self) -> Path:
        """Where the spool lies: a path that may stand in SQL."""
        return self._scratch.path

    def work(self, rows: int) -> Iterator[pa.Table]:
        """The images that need work, at most `rows` at a time."""
        left = self.folder / "work.parquet"
        at = 0
        if self.to_fetch:
            for batch in pq.ParquetFile(left).iter_batches(batch_size=rows):
                places = pa.array(range(at, at + len(batch)), pa.int64())
                yield pa.Table.from_batches([batch]).append_column("place", places).cast(self.schema)
                at += len(batch)

    def sample(self, rows: int) -> "Subtraction":
        """So many of the images to fetch, or all there are, drawn evenly and the same in every call; owns its files."""
        some = type(self)(schema=self.schema)
        with duckdb.connect() as db:
            db.execute(f"""
                COPY (
                    SELECT * FROM (SELECT * FROM '{self.folder / "work.parquet"}' WHERE action = '{FETCH}')
                    USING SAMPLE reservoir({rows} ROWS) REPEATABLE (1)
                ) TO '{some.folder / "work.parquet"}' (FORMAT parquet)
            """)
            ((some.to_fetch, size),) = db.execute(f"""
                SELECT count(*), coalesce(sum(source_size), 0) FROM '{some.folder / "work.parquet"}'
            """).fetchall()
        some.listed, some.gets, some.bytes = some.to_fetch, some.to_fetch, int(size)
        return some

    def gone_rows(self, rows: int) -> Iterator[pa.Table]:
        """(image_id, run_id) of the rows whose object is gone, at most `rows` at a time."""
        if self.gone:
            for batch in pq.ParquetFile(self.folder / "gone.parquet").iter_batches(batch_size=rows):
                yield pa.Table.from_batches([batch])


def subtract(
    listing: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    table: lance.LanceDataset | None,
    forgotten: Forgotten,
    spec: JobSpec,
    *,
    unbounded: bool = True,
) -> Subtraction:
    """Spool the listing and decide, image by image, whether there is anything to do.

    Args:
        listing: Batches of `schema`; of lines with the same image_id the last wins.
        table: The images table, None when there is none yet; it is moved to its latest version.
        forgotten: Tombstones.
        unbounded: The listing holds all that the source has, so what is not in it is gone.
    """
    result = Subtraction(schema=work_schema(schema))
    try:
        lines = _spool(listing, schema, result.folder / "listing.parquet")
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
                    if lines:
                        _decide(db, result, lines, table, forgotten, spec)
                    if table is not None and unbounded and spec.source.deleted == "reject":
                        _find_gone(db, result, table, canonical(spec.source.uri))
                    break
                except (duckdb.Error, ValueError, OSError):
                    # It may have done so while the table was read.
                    if table is None or table.latest_version == table.version:
                        raise
    except BaseException as error:
        result._scratch.cleanup()
        if (refused := result._scratch.refused(error)) is not None:
            raise refused from error
        raise
    return result


def _spool(listing: Iterable[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    lines = 0
    with pq.ParquetWriter(path, pa.schema([*schema, pa.field("line", pa.int64())])) as writer:
        for batch in listing:
            numbers = pa.array(range(lines, lines + batch.num_rows), pa.int64())
            writer.write_batch(pa.RecordBatch.from_arrays([*batch.columns, numbers], schema=writer.schema))
            lines += batch.num_rows
    return lines


def _decide(
    db: duckdb.DuckDBPyConnection,
    result: Subtraction,
    lines: int,
    table: lance.LanceDataset | None,
    forgotten: Forgotten,
    spec: JobSpec,
) -> None:
    attributes = [f"attr_{name}" for name in spec.source.attributes]
    known = _known_rows(table, attributes)
    tombstones = pa.table({"hash": pa.array(sorted(forgotten.image_ids), pa.string())})
    db.register("known", known)
    db.register("tombstones", tombstones)
    # Under a prefix every key stands once; only a manifest can name an image twice.
    once = "QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY line DESC) = 1"
    db.execute(f"CREATE OR REPLACE VIEW listed AS SELECT * FROM lines {once if spec.source.kind == 'manifest' else ''}")
    compared = ["caption"] * bool(spec.source.caption) + attributes
    there = [name if name in known.schema.names else None for name in compared]
    same_words = " AND ".join(
        f'l."{name}" IS NOT DISTINCT FROM ' + (f'k."{column}"' if column else "NULL")
        for name, column in zip(compared, there, strict=True)
    )
    final = ", ".join(f"'{code}'" for code in sorted(FINAL))
    db.execute(f"""
        CREATE OR REPLACE TABLE todo AS
        WITH joined AS (
            SELECT l.*, k.run_id AS prior_run_id, k._rowid AS prior_row_id, k.status, k.reasons, k.attempts AS tried,
                t.hash IS NOT NULL OR {_is_old(spec.retention_days)} AS is_forgotten,
                k.image_id IS NOT NULL AS is_known,
                {_same_bytes()} AS same_bytes,
                {_same_state()} AS same_state,
                {same_words or "true"} AS same_words
            FROM listed l LEFT JOIN known k USING (image_id) LEFT JOIN tombstones t ON t.hash = l.image_id
        )
        SELECT *, CASE
            WHEN is_forgotten THEN 'forgotten'
            WHEN NOT is_known THEN '{FETCH}'
            WHEN status = 'failed' AND same_state
                AND (reasons[1] IN ({final}) OR tried >= {spec.limits.max_attempts}) THEN 'unchanged'
            WHEN status = 'failed' THEN '{FETCH}'
            WHEN same_state AND same_words AND NOT coalesce(list_contains(reasons, '{SOURCE_DELETED}'), false)
                THEN 'unchanged'
            WHEN same_state OR same_bytes THEN '{REFRESH}'
            ELSE '{FETCH}' END AS action
        FROM joined WHERE action <> 'unchanged'
    """)
    ((result.forgotten, result.to_fetch, result.gets, result.unsized, result.replaced, size),) = db.execute(f"""
        SELECT count(*) FILTER (action = 'forgotten'), count(*) FILTER (action <> 'forgotten'),
            count(*) FILTER (action = '{FETCH}'), count(*) FILTER (action = '{FETCH}' AND source_size IS NULL),
            count(prior_run_id) FILTER (action <> 'forgotten'),
            coalesce(sum(source_size) FILTER (action = '{FETCH}'), 0) FROM todo
    """).fetchall()
    result.bytes = int(size)
    ((result.listed,),) = db.execute("SELECT count(*) FROM listed").fetchall()
    result.repeated = lines - result.listed
    result.unchanged = result.listed - result.forgotten - result.to_fetch
    names = ", ".join(f'"{name}"' for name in result.schema.names if name not in _ADDED)
    db.execute(f"""
        COPY (
            SELECT {names}, action, CASE WHEN same_state AND status = 'failed' THEN tried ELSE 0 END::INT AS attempts,
                prior_run_id, prior_row_id
            FROM todo WHERE action <> 'forgotten'
        ) TO '{result.folder / "work.parquet"}' (FORMAT parquet)
    """)


def _find_gone(db: duckdb.DuckDBPyConnection, result: Subtraction, table: lance.LanceDataset, root: str) -> None:
    held = ["image_id", "source_uri", "run_id", "status", "reasons", "reviewed_verdict"]
    db.register("held", table.scanner(columns=held).to_reader())
    db.execute(
        f"""
        COPY (
            SELECT image_id, run_id FROM held ANTI JOIN lines USING (image_id)
            WHERE (source_uri = $root OR starts_with(source_uri, $folder))
                AND status <> 'failed' AND reviewed_verdict IS NULL
                AND NOT coalesce(list_contains(reasons, '{SOURCE_DELETED}'), false)
        ) TO '{result.folder / "gone.parquet"}' (FORMAT parquet)
        """,
        {"root": root, "folder": f"{root.rstrip('/')}/"},
    )
    result.gone = pq.ParquetFile(result.folder / "gone.parquet").metadata.num_rows


def _known_rows(table: lance.LanceDataset | None, attributes: list[str]) -> pa.RecordBatchReader | pa.Table:
    if table is None:
        types = {column.name: column.type for column in COLUMNS}
        fields = [(name, types.get(name, pa.string())) for name in [*_KNOWN, *attributes]]
        return pa.schema([*fields, ("_rowid", pa.uint64())]).empty_table()
    there = [name for name in attributes if name in table.schema.names]
    reader: pa.RecordBatchReader = table.scanner(columns=[*_KNOWN, *there], with_row_id=True).to_reader()
    return reader


def _is_old(days: int | None) -> str:
    before = kept_from(days)
    return f"coalesce(l.source_modified < TIMESTAMPTZ '{before.isoformat()}', false)" if before else "false"


def _same_state() -> str:
    return f"""({_same_bytes()} AND epoch_us(l.source_modified) // 1000000 IS NOT DISTINCT FROM
        epoch_us(k.source_modified) // 1000000
        OR {" AND ".join(f"l.{name} IS NOT DISTINCT FROM k.{name}" for name in SOURCE_STATE)})"""


def _same_bytes() -> str:
    """A store's entity tag stands for the bytes; listing and HEAD may date the object with other precision."""
    return "(l.source_etag = k.source_etag AND l.source_size = k.source_size)"
