"""What a commit finds under its ids is what the whole table would have told."""

import tempfile
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest
from hypothesis import given as sampled
from hypothesis import strategies as st

from clipflow.table.existing import Existing, Planned
from clipflow.table.guard import Change, guarded_commit
from clipflow.table.images import open_images
from clipflow.table.stage import KEYS
from tests.examples import examples
from tests.table.staging import assignment, commit, planned, staged

KEYS_IN_ALL = range(8)
_MINE = "mine"

SOME = st.lists(st.sampled_from(KEYS_IN_ALL), min_size=1, max_size=4, unique=True)
DEED: st.SearchStrategy[tuple[str, list[int]]] = st.one_of(
    st.tuples(st.just("write"), SOME),
    st.tuples(st.just("copy"), SOME),
    st.tuples(st.just("delete"), SOME),
    st.tuples(st.just("restore"), st.lists(st.integers(0, 20), min_size=1, max_size=1)),
    st.tuples(st.sampled_from(["compact", "index", "column", "ask"]), st.just([])),
)


def asked(prior: dict[int, dict[str, Any]]) -> pa.Table:
    made = [
        {"image_id": f"{key:032x}", "prior_row_id": row.get("prior_row"), "place": key} for key, row in prior.items()
    ]
    return pa.Table.from_pylist(made, KEYS)


def ids(keys: list[int]) -> str:
    return f"image_id IN ({','.join(repr(f'{key:032x}') for key in keys)})"


class World:
    """A table in which others write, and one run that planned."""

    def __init__(self, folder: Path, first: list[int]) -> None:
        self._folder, self._turn = folder, 0
        if first:
            self.write(first)
        self.given = assignment(folder, _MINE)
        seen, self._prior = planned(self.given, KEYS_IN_ALL)
        self._existing = Existing(seen)

    def write(self, keys: list[int]) -> None:
        self._turn += 1
        given = assignment(self._folder, f"other-{self._turn}")
        items = [{"key": key, "second": self._turn} for key in keys]
        commit(given, staged(given, *items))

    def copy(self, keys: list[int]) -> None:
        """As a review does: the same rows, written anew."""
        dataset = open_images(self.given.address)
        rows = dataset.to_table(filter=ids(keys), with_row_address=True)
        if len(rows):
            schema = dataset.schema.remove_metadata()
            copies = rows.drop_columns(["_rowaddr"]).cast(schema)
            fragments = lance.fragment.write_fragments(copies, self.given.address.images, schema)
            self._change(Change(fragments, rows.column("_rowaddr").to_pylist()))

    def delete(self, keys: list[int]) -> None:
        rows = open_images(self.given.address).to_table(columns=[], filter=ids(keys), with_row_address=True)
        self._change(Change([], rows.column("_rowaddr").to_pylist()))

    def restore(self, turn: list[int]) -> None:
        """As Lance offers it to everybody: an older version becomes the newest."""
        versions = [found["version"] for found in open_images(self.given.address).versions()]
        older = open_images(self.given.address)
        older.checkout_version(versions[turn[0] % len(versions)]).restore()

    def compact(self, _: list[int]) -> None:
        open_images(self.given.address).optimize.compact_files(materialize_deletions_threshold=0.0)

    def index(self, _: list[int]) -> None:
        if open_images(self.given.address).count_rows():
            open_images(self.given.address).create_scalar_index("content_sha256", "BTREE", replace=True)

    def column(self, _: list[int]) -> None:
        self._turn += 1
        open_images(self.given.address).add_columns([pa.field(f"attr_{self._turn}", pa.string())])

    def ask(self, _: list[int]) -> None:
        dataset = open_images(self.given.address)
        columns = ["image_id", "run_id", "source_modified"]
        found = self._existing.under(dataset, asked(self._prior), columns)
        wanted = dataset.to_table(columns=columns, with_row_address=True, with_row_id=True).to_pylist()
        assert found == {row["image_id"]: row for row in wanted}

    def _change(self, change: Change) -> None:
        guarded_commit(self.given.address, self.given.address.images, lambda _: change, {})


@examples(15)
@sampled(st.one_of(st.just([]), SOME), st.lists(DEED, min_size=1, max_size=8))
def test_what_is_found_is_what_the_table_holds(first: list[int], deeds: list[tuple[str, list[int]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), first)
        for deed, keys in [*deeds, ("ask", [])]:
            getattr(world, deed)(keys)


def test_the_run_s_own_rows_are_not_looked_up_again(tmp_path: Path) -> None:
    given = assignment(tmp_path, _MINE)
    before = open_images(given.address)
    existing = Existing(Planned.of(before))
    commit(given, staged(given, {"key": 1}))
    dataset = open_images(given.address)
    existing.committed(dataset, before.version)
    assert existing.under(dataset, asked({1: {}}), ["image_id"]) == {}


def test_a_commit_that_is_not_noted_is_found(tmp_path: Path) -> None:
    given = assignment(tmp_path, _MINE)
    existing = Existing(Planned.of(open_images(given.address)))
    commit(given, staged(given, {"key": 1}))
    assert existing.under(open_images(given.address), asked({1: {}}), ["image_id"]).keys() == {f"{1:032x}"}


@pytest.mark.parametrize("wanted", [range(3), range(1_000)])
def test_rows_are_found_by_many_ids(tmp_path: Path, wanted: range) -> None:
    first = assignment(tmp_path, "first")
    commit(first, staged(first, *({"key": key} for key in range(1_500))))
    seen, prior = planned(first, wanted)
    found = Existing(seen).under(open_images(first.address), asked(prior), ["image_id"])
    assert found.keys() == {f"{key:032x}" for key in wanted}
