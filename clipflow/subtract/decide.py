"""The decision, image by image, whether there is anything to do."""

from collections.abc import Collection

import duckdb
import lance
import pyarrow as pa

from clipflow.decode.revision import decoder_revision
from clipflow.failures import DECODED, FINAL, LIMITS, NOT_FOUND
from clipflow.report import SHOWN
from clipflow.schema import SOURCE_DELETED, SOURCE_STATE
from clipflow.spec import JobSpec
from clipflow.subtract.known import register_known
from clipflow.subtract.work import FETCH, REDECODE, REFRESH, Again, Subtraction
from clipflow.table.decision import TRIED
from clipflow.table.forgotten import Forgotten
from clipflow.table.retention import kept_from

_ADDED = ("action", "attempts", "prior_run_id", "prior_row_id", "former_id", "place")


def decide(
    db: duckdb.DuckDBPyConnection,
    result: Subtraction,
    lines: int,
    table: lance.LanceDataset | None,
    forgotten: Forgotten,
    spec: JobSpec,
    again: Again,
) -> None:
    """Count what there is to do, and write it down.

    Args:
        db: Holds the listing as `listed`, see `respell`.
        lines: So many the listing had.
    """
    attributes = [f"attr_{name}" for name in spec.source.attributes]
    # Whose row it is matters where somebody's absence withdraws it.
    owned = spec.source.deleted == "reject"
    more = ["media_type", "damaged"] * bool(again.media_types) + ["source_id"] * owned
    register_known(db, table, [*attributes, *more])
    db.register("tombstones", pa.table({"hash": pa.array(sorted(forgotten.image_ids), pa.string())}))
    compared = ["caption"] * bool(spec.source.caption) + attributes
    same_words = " AND ".join(f'l."{name}" IS NOT DISTINCT FROM k."{name}"' for name in compared)
    db.execute(f"""
        CREATE OR REPLACE TABLE todo AS
        WITH joined AS (
            SELECT l.*, k.run_id AS prior_run_id, k._rowid AS prior_row_id, k.status, k.reasons, k.attempts AS tried,
                k.failed_under, {_is_old(spec.retention_days)} OR image_id IN (FROM tombstones)
                    OR coalesce(l.former_id IN (FROM tombstones), false) AS is_forgotten,
                k.image_id IS NOT NULL AS is_known,
                {_same_bytes()} AS same_bytes,
                {_same_state()} AS same_state,
                {same_words or "true"} AS same_words,
                l.source_etag IS NULL AND l.source_size IS NULL AS unasked,
                {_decoded_before(again)} AS decoded_before,
                {f"coalesce(k.source_id <> '{spec.source.source_id}', false)" if owned else "false"} AS is_others,
                split_part(k.failed_under, '{TRIED}', 2) = coalesce({_state_hash()}, '') AS tried_this,
                coalesce(list_contains(k.reasons, '{SOURCE_DELETED}'), false) AS is_withdrawn
            FROM listed l LEFT JOIN known k USING (image_id)
        ), named AS (
            SELECT *, status = 'failed' AS is_failed,
                CASE WHEN status = 'failed' THEN reasons[1] WHEN tried_this THEN split_part(failed_under, '{TRIED}', 1)
                    END AS code,
                coalesce(TRY_CAST(failed_under AS BIGINT), 0) AS under
            FROM joined
        ), told AS (SELECT *, {_waits(spec, again)} AS waits FROM named)
        SELECT *, CASE
            WHEN is_forgotten THEN 'forgotten'
            WHEN NOT is_known THEN '{FETCH}'
            WHEN is_failed AND same_state AND waits THEN 'unchanged'
            WHEN is_failed THEN '{FETCH}'
            WHEN unasked AND is_withdrawn THEN 'missing'
            WHEN code = '{NOT_FOUND}' AND (waits OR is_withdrawn AND NOT {_among("code", again.codes)}) THEN 'missing'
            WHEN waits AND NOT is_absent THEN 'unchanged'
            WHEN decoded_before THEN '{REDECODE}'
            WHEN same_state AND same_words AND NOT is_withdrawn AND NOT is_others AND failed_under IS NULL
                THEN 'unchanged'
            WHEN same_state OR same_bytes THEN '{REFRESH}'
            ELSE '{FETCH}' END AS action
        FROM told WHERE action <> 'unchanged'
    """)
    _take_over_former_rows(db, table)
    fetched = f"action IN ('{FETCH}', '{REDECODE}')"
    ((result.forgotten, result.to_fetch, result.gets, result.unsized, result.replaced, size),) = db.execute(f"""
        SELECT count(*) FILTER (action = 'forgotten'), count(*) FILTER (action NOT IN ('forgotten', 'missing')),
            count(*) FILTER ({fetched}), count(*) FILTER ({fetched} AND source_size IS NULL),
            count(prior_run_id) FILTER (action NOT IN ('forgotten', 'missing')),
            coalesce(sum(source_size) FILTER ({fetched}), 0) FROM todo
    """).fetchall()
    result.bytes = int(size)
    ((result.listed,),) = db.execute("SELECT count(*) FROM listed").fetchall()
    result.repeated = lines - result.listed
    result.unchanged = result.listed - result.forgotten - result.to_fetch
    missing = "FROM todo WHERE action = 'missing' AND NOT is_withdrawn"
    ((result.missing,),) = db.execute(f"SELECT count(*) {missing}").fetchall()
    some = db.execute(f"SELECT source_uri {missing} ORDER BY source_uri LIMIT {SHOWN}").fetchall()
    result.missing_images = [uri for (uri,) in some]
    names = ", ".join(f'"{name}"' for name in result.schema.names if name not in _ADDED)
    # What a row counts beside its vector are failures of the state that was tried; so do failed rows of theirs.
    counted = "NOT is_failed AND failed_under IS NOT NULL AND tried_this OR same_state AND is_failed"
    db.sql(f"""
        SELECT {names}, action, CASE WHEN {counted} THEN tried ELSE 0 END::INT AS attempts, prior_run_id,
            prior_row_id, CASE WHEN is_former THEN former_id END AS former_id
        FROM todo WHERE action NOT IN ('forgotten', 'missing')
    """).write_parquet(str(result.folder / "work.parquet"))


def _take_over_former_rows(db: duckdb.DuckDBPyConnection, table: lance.LanceDataset | None) -> None:
    """A path that is not UTF-8 had another address once; the row of that one is replaced, once.

    The older address may have been another file's own: then its row says whose, and is of other bytes.
    """
    db.execute("ALTER TABLE todo ADD COLUMN is_former BOOLEAN DEFAULT false")
    ((old,),) = db.execute("SELECT count(former_id) FROM todo WHERE NOT is_known").fetchall()
    if not old or table is None:
        return
    register_known(db, table, ["source_id"])
    db.execute(f"""
        UPDATE todo l SET is_former = true, prior_run_id = k.run_id, prior_row_id = k._rowid
        FROM known k
        WHERE k.image_id = l.former_id AND NOT l.is_known AND ({_same_bytes()} OR k.source_id IS NULL)
            AND l.former_id NOT IN (SELECT image_id FROM listed)
    """)


def _waits(spec: JobSpec, again: Again) -> str:
    """Whether a failure is left as it is: what it follows from is as it was, or it was tried often enough."""
    limits = [
        f"WHEN code = '{code}' THEN under >= {int(getattr(spec.limits, key))}" for code, key in sorted(LIMITS.items())
    ]
    return f"""CASE
            WHEN code IS NULL OR {_among("code", again.codes)} THEN false
            {" ".join(limits)}
            WHEN {_among("code", DECODED)} THEN under >= {decoder_revision()}
            WHEN {_among("code", FINAL)} THEN true
            ELSE tried >= {spec.limits.max_attempts} END"""


def _decoded_before(again: Again) -> str:
    """Whether an older decoder made the row: of those before it nothing says whether they had to guess."""
    if not again.media_types:
        return "false"
    return f"({_among('k.media_type', again.media_types)} AND k.damaged IS NULL)"


def _state_hash() -> str:
    """The state of a listed object, as `table.decision.tried_under` writes it."""
    return "left(md5(l.source_etag), 8)"


def _among(column: str, values: Collection[str]) -> str:
    named = ", ".join(f"'{value}'" for value in sorted(values))
    return f"{column} IN ({named})" if named else "false"


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
