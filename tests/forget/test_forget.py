"""Law 9: after a deletion no file holds what was forgotten, and the test reads the files itself."""

import json
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clipflow
from clipflow.cli import main
from clipflow.errors import TableError, UsageError
from clipflow.forget.forget import forget
from clipflow.forget.receipt import Receipt
from clipflow.schema import FORGOTTEN
from clipflow.uri import image_id
from tests.catalogues import draw, job, picture, rows
from tests.examples import examples
from tests.forget.catalogue import content_of, files_of, fill, holders, index, uri_of, values, vector_of

KEYS = {"forgotten", "also_held", "versions_removed", "files_removed", "verified", "pending"}
KEYS |= {"run_id", "table", "version", "from_version", "requests", "bytes_removed", "seconds"}


def uri(folder: Path) -> str:
    return str(folder / "t.lance")


def assert_no_trace(table: Path, row: dict[str, Any], kind: Any, vector: bool = True) -> None:
    """Of one row: raw bytes of every file, and decoded values of every Lance file."""
    decoded = values(table)
    assert row["image_id"] not in decoded["image_id"]
    assert row["source_uri"] not in decoded["source_uri"] | decoded.get("values", set()) | decoded.get("keys", set())
    assert not holders(table, row["image_id"].encode())
    assert not holders(table, row["source_uri"].encode())
    if row.get("caption"):
        assert row["caption"] not in decoded["caption"]
        assert not holders(table, row["caption"].encode())
    if vector:
        stored = vector_of(row["bytes"]).astype(kind)
        assert stored.tobytes() not in decoded["vector"]
        assert not holders(table, stored.tobytes())
        assert not holders(table, stored.astype(np.float32).tobytes())
        assert not holders(table, content_of(row["bytes"]).encode())
        assert content_of(row["bytes"]) not in decoded["content_sha256"] | decoded.get("values", set())


def whole(key: int, **more: Any) -> dict[str, Any]:
    row = {"key": key, "bytes": key, "caption": f"caption of number {key:05}", **more}
    return row | {"image_id": image_id(uri_of(key)), "source_uri": uri_of(key)}


def test_a_row_leaves_every_file(tmp_path: Path) -> None:
    first, second = [whole(key) for key in range(300)], [whole(key) for key in range(300, 320)]
    fill(tmp_path, first, second)
    table = tmp_path / "t.lance"
    index(table)
    lance.dataset(str(table)).tags.create("published", 2)
    lance.dataset(str(table)).tags.create("older", 1)
    for needle in (uri_of(7), "caption of number 00007"):
        assert holders(table, needle.encode()), "the search of the test finds nothing"
    assert vector_of(7).astype(np.float16).tobytes() in values(table)["vector"]
    before = rows(table)
    report = forget(uri(tmp_path), uris=[uri_of(7), uri_of(301), uri_of(9999)])
    assert (report.requests, report.forgotten, report.also_held) == (3, 2, 0)
    assert (report.verified, report.pending, report.found, report.indexes_dropped) == (True, [], {}, 0)
    assert report.versions_removed >= report.from_version
    assert report.scanned["files"] == len(files_of(table))
    for key in (7, 301):
        assert_no_trace(table, whole(key), np.float16)
    after = lance.dataset(str(table))
    assert {name: tag["version"] for name, tag in after.tags.list().items()} == {
        "published": after.version,
        "older": after.version,
    }
    assert [version["version"] for version in after.versions()] == [after.version]
    gone = {image_id(uri_of(7)), image_id(uri_of(301))}
    assert rows(table) == {key: row for key, row in before.items() if key not in gone}
    assert {i.name: i.num_rows_indexed for i in after.describe_indices()} == dict.fromkeys(
        ["vector_idx", "content_idx", "uri_idx", "caption_idx"], 318
    )
    (words,) = [i.details for i in after.describe_indices() if i.name == "caption_idx"]
    assert (words["with_position"], words["stem"]) == (True, False)
    nearest = {"column": "vector", "q": vector_of(8).astype(np.float16), "k": 1, "metric": "cosine"}
    assert after.to_table(columns=["source_uri"], nearest=nearest)["source_uri"].to_pylist() == [uri_of(8)]
    tombstones = lance.dataset(str(tmp_path / "t_forgotten.lance")).to_table()
    assert tombstones.schema.names == FORGOTTEN.names
    assert sorted(tombstones["hash"].to_pylist()) == sorted(image_id(uri_of(key)) for key in (7, 301, 9999))
    for companion in ("t_runs.lance", "t_forgotten.lance"):
        assert not holders(tmp_path / companion, uri_of(7).encode())
        assert not holders(tmp_path / companion, b"caption of number 00007")
    again = forget(uri(tmp_path), uris=[uri_of(7)])
    assert (again.forgotten, again.verified) == (0, True)
    assert lance.dataset(str(tmp_path / "t_forgotten.lance")).count_rows() == 3


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[dict[str, Any]]], set[int], str]:
    """Groups of rows, some written again with other bytes, some with equal ones; which to forget; the vectors' type."""
    keys = draw(st.lists(st.integers(0, 60), min_size=4, max_size=30, unique=True))
    caption = st.sampled_from([None, "", "cat", "a red car", "a red car at night", "été à Nîmes"])
    groups: list[list[dict[str, Any]]] = [[] for _ in range(draw(st.integers(1, 4)))]
    for key in keys:
        own = f"only of picture {key}" if draw(st.booleans()) else draw(caption)
        row = whole(key, bytes=draw(st.sampled_from([key, 1000])), caption=own, failed=draw(st.integers(0, 5)) == 0)
        first = draw(st.integers(0, len(groups) - 1))
        groups[first].append(row)
        if first + 1 < len(groups) and draw(st.booleans()):
            groups[-1].append(row | {"bytes": 2000 + key, "second": 9, "prior": f"fill-{first}", "failed": False})
    gone = draw(st.sets(st.sampled_from(keys), min_size=1, max_size=len(keys)))
    return [group for group in groups if group], gone, draw(st.sampled_from(["float16", "float32"]))


@examples(15)
@given(tables())
def test_no_file_holds_a_trace_whatever_the_table(
    tmp_path_factory: pytest.TempPathFactory, made: tuple[list[list[dict[str, Any]]], set[int], str]
) -> None:
    groups, gone, kind = made
    folder = tmp_path_factory.mktemp("law")
    table = folder / "t.lance"
    fill(folder, *groups, vector=kind)
    lance.dataset(str(table)).create_scalar_index("caption", "BTREE", "caption_idx")
    lance.dataset(str(table)).tags.create("first", 1)
    before = rows(table)
    report = forget(uri(folder), uris=[uri_of(key) for key in sorted(gone)])
    assert (report.forgotten, report.verified) == (len(gone), True)
    ids = {image_id(uri_of(key)) for key in gone}
    stays = {key: row for key, row in before.items() if key not in ids}
    assert rows(table) == stays
    stored = {tuple(row["vector"]) for row in stays.values() if row["vector"]}
    held = [row for key, row in before.items() if key in ids and row["vector"] and tuple(row["vector"]) in stored]
    assert report.also_held == len(held)
    texts = " | ".join(row["caption"] or "" for row in stays.values())
    contents = {row["content_sha256"] for row in stays.values()}
    for row in (row for group in groups for row in group if row["key"] in gone):
        shared = row["failed"] or content_of(row["bytes"]) in contents
        shown = row | {
            "caption": None if (row["caption"] or "") in texts or len(row["caption"]) < 8 else row["caption"]
        }
        assert_no_trace(table, shown, np.dtype(kind).type, vector=not shared)
        assert row["caption"] is None or row["caption"] in texts or row["caption"] not in values(table)["caption"]


def test_equal_bytes_under_another_name_stay_and_are_counted(tmp_path: Path) -> None:
    fill(tmp_path, [whole(1, bytes=5), whole(2, bytes=5), whole(3)])
    rehearsed = forget(uri(tmp_path), uris=[uri_of(1), uri_of(3)], dry_run=True)
    assert (rehearsed.forgotten, rehearsed.also_held, rehearsed.run_id) == (2, 1, None)
    assert not (tmp_path / "t_forgotten.lance").exists()
    report = forget(uri(tmp_path), uris=[uri_of(1), uri_of(3)])
    assert (report.forgotten, report.also_held, report.verified) == (2, 1, True)
    assert rows(tmp_path / "t.lance").keys() == {image_id(uri_of(2))}


@pytest.mark.parametrize("listed", [False, True])
def test_bytes_go_under_every_name_and_do_not_return(tmp_path: Path, listed: bool) -> None:
    fill(tmp_path, [whole(1, bytes=5), whole(2, bytes=5), whole(3)])
    (tmp_path / "list").write_text(f"# requests\n\nsha256:{content_of(5).upper()}\n")
    how: dict[str, Any] = {"listed": str(tmp_path / "list")} if listed else {"sha256": [content_of(5)]}
    report = forget(uri(tmp_path), **how)
    assert (report.forgotten, report.also_held, report.verified) == (2, 0, True)
    table = tmp_path / "t.lance"
    for key in (1, 2):
        assert_no_trace(table, whole(key, bytes=5), np.float16)
    fill(tmp_path, [whole(4, bytes=5), whole(1, bytes=8)])
    assert rows(table).keys() == {image_id(uri_of(3)), image_id(uri_of(1))}
    assert not holders(table, uri_of(4).encode()), "a forgotten row lies in a staged file"
    assert not holders(table, content_of(5).encode())


def test_new_bytes_under_the_name_of_forgotten_ones_are_welcome(tmp_path: Path) -> None:
    """The old form of the row lies in an old version, and shares its key with the row that stays."""
    fill(tmp_path, [whole(1, bytes=5)], [whole(1, bytes=8, second=9, prior="fill-0"), whole(2)])
    report = forget(uri(tmp_path), sha256=[content_of(5)])
    assert (report.forgotten, report.verified) == (0, True)
    assert rows(tmp_path / "t.lance").keys() == {image_id(uri_of(1)), image_id(uri_of(2))}
    assert not holders(tmp_path / "t.lance", content_of(5).encode())
    assert vector_of(5).astype(np.float16).tobytes() not in values(tmp_path / "t.lance")["vector"]


def test_a_condition_and_a_list_add_to_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, [whole(key, uploader="ann" if key < 3 else "bob") for key in range(8)])
    monkeypatch.setenv("CLIPFLOW_FORGET", f"{uri_of(5)}\n{image_id(uri_of(6))}\n")
    report = forget(uri(tmp_path), listed="env:CLIPFLOW_FORGET", where="attr_uploader = 'ann'")
    assert (report.requests, report.forgotten, report.verified) == (5, 5, True)
    assert rows(tmp_path / "t.lance").keys() == {image_id(uri_of(key)) for key in (3, 4, 7)}
    (run,) = clipflow.open(uri(tmp_path)).sql("select * from runs where verb = 'forget'")
    assert "ann" not in str(run)
    assert json.loads(run["spec"])["requests"] == {"image_ids": 2, "sha256": 0, "where": 3}
    assert (run["state"], run["forgotten"]) == ("done", 5)


def test_a_caption_within_another_is_no_trace(tmp_path: Path) -> None:
    stays = whole(2, caption="a red car at night")
    fill(tmp_path, [whole(1, caption="a red car"), stays, whole(12, caption="dog"), whole(13, caption="hot dog")])
    report = forget(uri(tmp_path), uris=[uri_of(1), uri_of(12)])
    assert (report.verified, report.forgotten) == (True, 2)
    assert {row["caption"] for row in rows(tmp_path / "t.lance").values()} == {"a red car at night", "hot dog"}


def test_a_foreign_file_that_holds_a_key_is_reported_and_not_called_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(tmp_path, [whole(1), whole(2)])
    note = tmp_path / "t.lance" / "notes.txt"
    note.write_text(f"look at {uri_of(1)}")
    (tmp_path / "t.lance" / "vector.bin").write_bytes(b"??" + vector_of(1).astype(np.float16).tobytes())
    assert main(["forget", uri(tmp_path), "--uri", uri_of(1), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["verified"], said["forgotten"], said["error"]["class"]) == (False, 1, "NotErased")
    assert said["found"] == {"notes.txt": ["uri"], "vector.bin": ["vector"]}
    assert uri_of(1) not in str(said)
    note.unlink()
    assert main(["forget", uri(tmp_path), "--uri", uri_of(1)]) == 0


def test_what_a_plain_delete_left_behind_goes(tmp_path: Path) -> None:
    """Lance keeps the row in its file and the condition, with the address, in its log."""
    fill(tmp_path, [whole(1), whole(2)])
    table = tmp_path / "t.lance"
    lance.dataset(str(table)).delete(f"source_uri = '{uri_of(1)}'")
    assert {name.partition("/")[0] for name in holders(table, uri_of(1).encode())} >= {"data", "_transactions"}
    report = forget(uri(tmp_path), uris=[uri_of(1)])
    assert (report.forgotten, report.verified) == (0, True)
    assert_no_trace(table, whole(1), np.float16)


def test_staged_files_of_operations_that_ended_go(tmp_path: Path) -> None:
    fill(tmp_path, [whole(1), whole(2)])
    data = tmp_path / "t.lance" / "data"
    (left,) = data.iterdir()
    (data / "left-by-a-kill.lance").write_bytes(left.read_bytes())
    (data / "half.lance").write_bytes(left.read_bytes()[:2000])
    (data / "empty.lance").write_bytes(b"")
    report = forget(uri(tmp_path), uris=[uri_of(1)])
    assert (report.verified, report.forgotten) == (True, 1)
    assert len(list(data.iterdir())) == 1
    assert_no_trace(tmp_path / "t.lance", whole(1), np.float16)


def test_the_last_row_can_go(tmp_path: Path) -> None:
    fill(tmp_path, [whole(key) for key in range(300)])
    index(tmp_path / "t.lance")
    report = forget(uri(tmp_path), where="true")
    assert (report.forgotten, report.verified, report.indexes_dropped) == (300, True, 1)
    assert not values(tmp_path / "t.lance").get("image_id")
    assert forget(uri(tmp_path), where="true").verified


def test_a_run_counts_and_leaves_out_what_was_forgotten(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(6))
    spec = job(tmp_path / "images", tmp_path / "t.lance")
    clipflow.run(spec, ray="none")
    kept = rows(tmp_path / "t.lance")
    name = f"file://{tmp_path}/images/000002.png"
    content = kept[image_id(f"file://{tmp_path}/images/000003.png")]["content_sha256"]
    assert forget(uri(tmp_path), uris=[name], sha256=[content]).forgotten == 2
    version = lance.dataset(uri(tmp_path)).version
    # New bytes under the forgotten name, the forgotten bytes under a new one, and a picture that is welcome.
    (tmp_path / "images/000002.png").write_bytes(picture(77))
    (tmp_path / "images/other.png").write_bytes(picture(3))
    (tmp_path / "images/welcome.png").write_bytes(picture(88))
    report = clipflow.run(spec, ray="none").document()
    assert {name: report[name] for name in ("listed", "unchanged", "embedded", "forgotten")} == {
        "listed": 8,
        "unchanged": 4,
        "embedded": 1,
        "forgotten": 3,
    }
    assert report["version"] == version + 1
    assert len(rows(tmp_path / "t.lance")) == 5
    assert not holders(tmp_path / "t.lance", content.encode())
    assert not holders(tmp_path / "t.lance", b"images/other.png")
    assert clipflow.plan(spec).forgotten == 1, "bytes are known only once they are fetched"


def test_branches_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    fill(tmp_path, [whole(1)])
    lance.dataset(uri(tmp_path)).create_branch("mine")
    with pytest.raises(TableError, match="mine"):
        forget(uri(tmp_path), uris=[uri_of(1)])
    assert not (tmp_path / "t_forgotten.lance").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Nothing was asked for"),
        (["--uri"], "expected at least one argument"),
        (["--uri", "ftp://x/y"], "ftp"),
        (["--sha256", "12ab"], "is no sha256"),
        (["--where", "nope = 1"], "nope"),
        (["--where", "caption ="], "cannot be used"),
        (["--where", " "], "empty"),
        (["--from", "/nowhere/list"], "does not exist"),
        (["--from", "https://host/list"], "no list of requests"),
        (["--from", "env:CLIPFLOW_NOTHING"], "no variable"),
        (["--from", "{empty}"], "holds no request"),
        (["--from", "{wrong}"], "Line 2 of"),
        (["--from", "{short}"], "has 63 hex digits"),
        (["--from", "{picture}"], "not UTF-8"),
        (["--uri", "/x", "--wait", "soon"], "no duration"),
        (["--why", "because"], "Unrecognized"),
        (["--older-than", "0d"], "more than nothing"),
        (["--older-than", "long"], "no duration"),
    ],
)
def test_a_wrong_call_is_one_sentence_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    fill(tmp_path, [whole(1)])
    made = {"empty": "# nobody\n\n", "wrong": f"{uri_of(1)}\nname: catalog\n", "short": "a" * 63}
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "picture").write_bytes(picture(1))
    paths = {name: str(tmp_path / name) for name in (*made, "picture")}
    before = files_of(tmp_path)
    assert main(["forget", uri(tmp_path), *(word.format(**paths) for word in words), "--json"]) == 2
    out = capsys.readouterr()
    assert said in json.loads(out.out)["error"]["message"]
    assert "Traceback" not in out.err
    assert files_of(tmp_path) == before


def test_a_missing_table_and_a_negative_wait_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="There is no table"):
        forget(uri(tmp_path), uris=["/x"])
    with pytest.raises(UsageError, match="wait"):
        forget(uri(tmp_path), uris=["/x"], wait=-1)
    assert not list(tmp_path.iterdir())


def test_the_receipt_says_what_lies_outside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(tmp_path, [whole(1), whole(2)])
    assert main(["forget", uri(tmp_path), "--uri", uri_of(1), uri_of(2), "--uri", uri_of(3), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert set(said) >= KEYS
    assert said["requests"] == 3
    for word in ("task logs", "Ray logs", "bucket", "backups"):
        assert word in said["outside"]
    assert "task logs" in Receipt("t", 1, 1, 0, scanned=said["scanned"]).text()
