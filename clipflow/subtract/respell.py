"""Lines that storage said nothing of, under the address that the table has for what they name.

Another system's spelling of a name leads to its object only where storage can be asked. When it cannot, or when the
object is gone, the row of it still has the address under which it was found.
"""

from collections import defaultdict
from collections.abc import Sequence

import duckdb
import lance
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.subtract.spool import Spelt
from clipflow.table.forgotten import Forgotten
from clipflow.uri import image_id

_RESPELT = pa.schema([("line", pa.int64()), ("image_id", pa.string()), ("source_uri", pa.string())])


def respell(
    db: duckdb.DuckDBPyConnection, spelt: Sequence[Spelt], table: lance.LanceDataset | None, forgotten: Forgotten
) -> None:
    """Make the view `listed` of the spooled `lines`: each image once, the last line of several.

    A line whose own address has no row takes another spelling's, where just one of them has a row or was forgotten.
    """
    rows = _respelt(spelt, table, forgotten)
    db.register("respelt", pa.Table.from_pylist(rows, _RESPELT))
    lines = "lines"
    if rows:
        lines = """(
            SELECT l.* REPLACE (coalesce(r.image_id, l.image_id) AS image_id,
                coalesce(r.source_uri, l.source_uri) AS source_uri)
            FROM lines l LEFT JOIN respelt r USING (line)
        )"""
    # Whatever lists: stores repeat a key, windows overlap, and a manifest names an image twice.
    db.execute(f"""
        CREATE OR REPLACE VIEW listed AS
        SELECT * FROM {lines} QUALIFY row_number() OVER (PARTITION BY image_id ORDER BY line DESC) = 1
    """)


def _respelt(
    spelt: Sequence[Spelt], table: lance.LanceDataset | None, forgotten: Forgotten
) -> list[dict[str, int | str]]:
    if not spelt or table is None:
        return []
    ids = {one.source_uri: image_id(one.source_uri) for one in spelt}
    found = table.to_table(columns=["image_id"], filter=pc.field("image_id").isin(pa.array(ids.values(), pa.string())))
    there = {*found.column("image_id").to_pylist(), *forgotten.image_ids}
    by_line: dict[int, list[str]] = defaultdict(list)
    for one in spelt:
        if ids[one.source_uri] in there:
            by_line[one.line].append(one.source_uri)
    return [
        {"line": line, "image_id": ids[uris[0]], "source_uri": uris[0]}
        for line, uris in by_line.items()
        if len(uris) == 1
    ]
