"""The old table's rows, a calendar month of `source_modified` at a time, and what the new one lacks of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import lance
import pyarrow as pa
import pyarrow.parquet as pq

from clipflow.database import closed_database
from clipflow.failures import PASSING
from clipflow.interval import Interval
from clipflow.migrate.job import ADDRESS, CAPTION, MODIFIED
from clipflow.query.sql import readable
from clipflow.schema import REVIEW_COLUMNS, SOURCE_DELETED
from clipflow.table.address import TableAddress
from clipflow.table.dataset import open_dataset
from clipflow.table.images import open_images

_BATCH_ROWS = 10_000
_THERE = f"NOT coalesce(list_contains(reasons, '{SOURCE_DELETED}'), false)"
_REVIEWED = ", ".join(f"o.{name}" for name in REVIEW_COLUMNS)


@dataclass(frozen=True)
class Part:
    """Rows of one month; `month` is its first moment, None for rows without a time.

    Attributes:
        rows: How many the old table has.
    """

    month: datetime | None
    rows: int

    @property
    def interval(self) -> Interval | None:
        """The month, half-open."""
        if self.month is None:
            return None
        year, month = divmod(self.month.year * 12 + self.month.month, 12)
        return Interval(self.month, self.month.replace(year=year, month=month + 1))

    @property
    def condition(self) -> str:
        """SQL that its rows meet."""
        if self.interval is None:
            return "source_modified IS NULL"
        start, end = (f"TIMESTAMPTZ '{at.isoformat()}'" for at in (self.interval.start, self.interval.end))
        return f"source_modified >= {start} AND source_modified < {end}"


class Parts:
    """Questions to both tables. The old one is read as of the version it had at the beginning.

    Args:
        words: The columns `caption` and `attr_*` that the job declares.
    """

    def __init__(self, old: TableAddress, version: int, new: TableAddress, words: list[str]) -> None:
        self._old, self._version, self._new = old, version, new
        self._words = words

    @property
    def rows(self) -> int:
        """Rows of the old table, those whose object is gone among them."""
        return int(open_images(self._old, self._version).count_rows())

    def all(self) -> list[Part]:
        """In the order of time, that rows come in the order that a run a month would have brought them in."""
        with self._database() as db:
            found = db.execute(
                f"SELECT date_trunc('month', source_modified)::TIMESTAMP, count(*) FROM old WHERE {_THERE} "
                "GROUP BY 1 ORDER BY 1 NULLS LAST"
            ).fetchall()
        return [Part(month and month.replace(tzinfo=UTC), rows) for month, rows in found]

    def write_lacking(self, part: Part, manifest: Path, limit: int | None) -> tuple[int, int]:
        """A manifest of at most `limit` rows that the new table lacks, or holds as failed, or with other words.

        Returns:
            How many rows it names, and how many the new table lacks altogether.
        """
        compared = ", ".join(["image_id", "content_sha256", *(f'"{name}"' for name in self._words)])
        others = [name for name in self._words if name != "caption"]
        named = [f'"{name}" AS "{name.removeprefix("attr_")}"' for name in others]
        named += [f'caption AS "{CAPTION}"'] * ("caption" in self._words)
        columns = ", ".join([f'source_uri AS "{ADDRESS}"', f'source_modified AS "{MODIFIED}"', *named])
        with self._database() as db:
            held = ""
            if (new := self._register_new(db)) is not None:
                there = [f'"{name}"' if name in new.schema.names else "NULL" for name in self._words]
                held = f"""EXCEPT SELECT {", ".join(["image_id", "content_sha256", *there])} FROM new
                    WHERE {part.condition} AND status <> 'failed'"""
            db.execute(
                f"CREATE TEMP TABLE lacking AS SELECT image_id FROM (SELECT {compared} FROM old "
                f"WHERE {part.condition} AND {_THERE} {held})"
            )
            ((lacking,),) = db.execute("SELECT count(*) FROM lacking").fetchall()
            cut = f"LIMIT {limit}" if limit is not None else ""
            rows = db.sql(
                f"SELECT {columns} FROM old SEMI JOIN lacking USING (image_id) WHERE {part.condition} "
                f"ORDER BY source_modified, image_id {cut}"
            )
            return _write(rows.to_arrow_reader(_BATCH_ROWS), manifest), lacking

    def failed(self, part: Part) -> tuple[int, int, bool]:
        """Of the month's rows that have a vector in the old table: how many there are, how many failed in the new one.

        Returns:
            Rows, failures, and whether any of those can pass.
        """
        passing = ", ".join(f"'{code}'" for code in sorted(PASSING))
        with self._database() as db:
            if self._register_new(db) is None:
                return 0, 0, False
            ((rows, failures, can_pass),) = db.execute(f"""
                SELECT count(*), count(*) FILTER (n.status = 'failed'),
                    coalesce(bool_or(n.status = 'failed' AND n.reasons[1] IN ({passing})), false)
                FROM (SELECT image_id FROM old WHERE {part.condition} AND {_THERE} AND status <> 'failed') o
                LEFT JOIN (SELECT image_id, status, reasons FROM new) n USING (image_id)
            """).fetchall()
        return int(rows), int(failures), bool(can_pass)

    def reviews(self, *, switched: bool) -> Iterator[pa.Table]:
        """Reviews, and withdrawals, that rows of equal bytes in the new table lack, and that are newer than theirs.

        Args:
            switched: Reviewers have seen the new table: a row without a verdict may be one whose verdict was withdrawn
                there, after its judgement only.
        """
        unseen = "n.judged_at" if switched else "n.reviewed_at"
        same = " AND ".join(f"o.{name} IS NOT DISTINCT FROM n.{name}" for name in REVIEW_COLUMNS)
        with self._database() as db:
            if self._register_new(db) is None:
                return
            # Who withdraws a verdict leaves no time but that of the judgement which follows from it.
            found = db.sql(f"""
                SELECT image_id, o.content_sha256, {_REVIEWED}
                FROM (SELECT image_id, content_sha256, judged_at, {", ".join(REVIEW_COLUMNS)} FROM old) o
                JOIN (SELECT image_id, content_sha256, status, judged_at, {", ".join(REVIEW_COLUMNS)} FROM new) n
                USING (image_id)
                WHERE o.content_sha256 = n.content_sha256 AND n.status <> 'failed' AND NOT ({same})
                    AND coalesce(coalesce(n.reviewed_at, {unseen}) < coalesce(o.reviewed_at, o.judged_at), true)
            """)
            for batch in found.to_arrow_reader(_BATCH_ROWS):
                yield pa.Table.from_batches([batch])

    def reviews_left(self) -> int:
        """Reviewed rows of the old table whose bytes the new one does not hold under their address."""
        with self._database() as db:
            if self._register_new(db) is None:
                return 0
            ((left,),) = db.execute("""
                SELECT count(*) FROM (SELECT image_id, content_sha256 FROM old WHERE reviewed_verdict IS NOT NULL)
                ANTI JOIN (SELECT image_id, content_sha256 FROM new WHERE status <> 'failed')
                USING (image_id, content_sha256)
            """).fetchall()
        return int(left)

    def _database(self) -> duckdb.DuckDBPyConnection:
        db = closed_database()
        db.register("old", readable(self._old, self._version))
        return db

    def _register_new(self, db: duckdb.DuckDBPyConnection) -> lance.LanceDataset | None:
        """The new table at its latest version, known as `new`; None while there is none."""
        if open_dataset(self._new) is None:
            return None
        new = readable(self._new)
        db.register("new", new)
        return new


def _write(rows: pa.RecordBatchReader, manifest: Path) -> int:
    written = 0
    with pq.ParquetWriter(manifest, rows.schema) as writer:
        for batch in rows:
            writer.write_batch(batch)
            written += batch.num_rows
    return written
