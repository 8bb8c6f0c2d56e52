"""Subtract beside others who change the table."""

from collections.abc import Callable, Iterator
from pathlib import Path

import clipflow
from clipflow.forget.forget import forget
from clipflow.source import list_source, listing_schema
from clipflow.subtract import subtract
from clipflow.table.address import TableAddress
from clipflow.table.forgotten import Forgotten
from clipflow.table.images import open_images
from clipflow.uri import canonical
from tests.catalogues import draw, job


class Meanwhile(frozenset[str]):
    """No tombstones; but when they are read, which is after the table was opened, something happens, once."""

    happens: list[Callable[[], object]]

    def __iter__(self) -> Iterator[str]:
        while self.happens:
            self.happens.pop()()
        return super().__iter__()


def test_files_that_a_deletion_takes_from_under_the_scan_are_read_at_the_newer_version(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(80))
    # More fragments than a scan opens ahead.
    spec = job(tmp_path / "images", tmp_path / "t.lance", table={"commit_rows": 1})
    clipflow.run(spec, ray="none")
    table = open_images(TableAddress.of(spec.table.uri))
    tombstones = Meanwhile()
    tombstones.happens = [lambda: forget(spec.table.uri, uris=[canonical(tmp_path / "images/000077.png")], wait=0)]
    listing, schema = list_source(spec.source), listing_schema(spec.source)
    with subtract(listing, schema, table, Forgotten(tombstones), spec) as left:
        # What was forgotten a moment ago is fetched once more; its commit will know.
        assert (left.listed, left.unchanged, left.to_fetch) == (80, 79, 1)
    assert table.version == table.latest_version
