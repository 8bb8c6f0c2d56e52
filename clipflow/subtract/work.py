"""What is left to do: the outcome of a subtraction, and its files."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipflow.scratch import Scratch
from clipflow.table.existing import Planned

FETCH, REFRESH, REDECODE = "fetch", "refresh", "redecode"
GONE = pa.schema([pa.field("image_id", pa.string()), pa.field("run_id", pa.string())])
"""What is told of rows whose object is gone: who wrote them."""


def work_schema(listing: pa.Schema) -> pa.Schema:
    """The columns of images that need work: the listing's, and six more.

    action: `fetch`; `refresh` when the bytes are known to be the same and only the row's words change; `redecode` when
        they are to be decoded anew, though known;
    attempts: how often this state of the source failed before;
    prior_run_id, prior_row_id: the run that wrote the row to replace, and Lance's id of that row, if there is one;
    former_id: the image_id of that row, where it has an older spelling of the address;
    place: the image's place in the work, from 0.
    """
    more = [
        pa.field("action", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("prior_run_id", pa.string()),
        pa.field("prior_row_id", pa.uint64()),
        pa.field("former_id", pa.string()),
        pa.field("place", pa.int64()),
    ]
    return pa.schema([*listing, *more])


@dataclass(frozen=True)
class Again:
    """What a run does again that it would leave as it is.

    Attributes:
        codes: Failures that are tried whatever they follow from.
        media_types: Images that an older decoder may have got wrong, and that it decoded.
    """

    codes: frozenset[str] = frozenset()
    media_types: frozenset[str] = frozenset()


@dataclass
class Subtraction:
    """The outcome, and the work that is left. Use it as a context manager: it owns temporary files.

    Attributes:
        listed: Distinct images.
        repeated: Listing lines beyond the first of an image.
        excluded: Names that were left out of the listing, and folders that may not be read.
        to_fetch: Images that need work, whether bytes are fetched or only the row is refreshed.
        bytes: Sum of the sizes of the images whose bytes will be fetched, where the store says them.
        gone: Rows of the source whose object is not there any more; looked for when the job asks.
        held: Rows of the source that have one, or should.
        missing: Images that were listed, and whose rows stay though nothing is found there any more.
        missing_images: The addresses of some of them.
        warnings: What people should look at, in sentences.
        gets: Images whose bytes will be fetched.
        unsized: Those of them whose size the store does not say.
        replaced: Images that need work and have a row.
        planned: What was seen of the table.
    """

    listed: int = 0
    repeated: int = 0
    excluded: int = 0
    unchanged: int = 0
    forgotten: int = 0
    to_fetch: int = 0
    bytes: int = 0
    gone: int = 0
    held: int = 0
    missing: int = 0
    missing_images: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    gets: int = 0
    unsized: int = 0
    replaced: int = 0
    planned: Planned = field(default_factory=Planned)
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    _scratch: Scratch = field(default_factory=Scratch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cleanup()

    def cleanup(self) -> None:
        """Remove its files."""
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
            db.from_parquet(str(self.folder / "work.parquet")).filter(f"action = '{FETCH}'").create_view("work")
            db.execute(f"CREATE TABLE drawn AS FROM work USING SAMPLE reservoir({rows} ROWS) REPEATABLE (1)")
            db.table("drawn").write_parquet(str(some.folder / "work.parquet"))
        drawn = pq.read_table(some.folder / "work.parquet", columns=["source_size"])
        some.to_fetch, size = len(drawn), pc.sum(drawn.column("source_size")).as_py() or 0
        some.listed, some.gets, some.bytes = some.to_fetch, some.to_fetch, int(size)
        return some

    def gone_rows(self, rows: int) -> Iterator[pa.Table]:
        """(image_id, run_id) of the rows whose object is gone, at most `rows` at a time."""
        if self.gone:
            for batch in pq.ParquetFile(self.folder / "gone.parquet").iter_batches(batch_size=rows):
                yield pa.Table.from_batches([batch])
