"""Search against brute force over the stored vectors."""

import json
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest

import clipflow
from clipflow.cli import main
from clipflow.encoders import load_encoder
from clipflow.errors import QueryError, TableError, UsageError
from clipflow.query.search import search
from clipflow.spec import EncoderSpec
from tests.catalogues import draw, job
from tests.query.conftest import STUB_NAN, Filled
from tests.s3 import S3Server
from tests.tiny_models import tiny_clip

EXACT = {"halffloat": 2e-3, "float": 1e-5}


def truth(filled: Filled, text: str, *statuses: str, version: int | None = None) -> dict[str, float]:
    """The cosine of every row that has a vector and one of the statuses, in float64."""
    rows = lance.dataset(filled.uri, version=version).to_table(["image_id", "status", "vector"]).to_pylist()
    query = load_encoder(EncoderSpec.model_validate(STUB_NAN)).encode_texts([text])[0].astype(np.float64)
    found = {}
    for row in rows:
        if row["vector"] is not None and (not statuses or row["status"] in statuses):
            vector = np.array(row["vector"], np.float64)
            found[row["image_id"]] = float(vector @ query / np.linalg.norm(vector) / np.linalg.norm(query))
    return found


def tolerance(filled: Filled) -> float:
    return EXACT[str(lance.dataset(filled.uri).schema.field("vector").type.value_type)]


def ids(hits: list[dict[str, Any]]) -> set[str]:
    return {hit["image_id"] for hit in hits}


@pytest.mark.parametrize("text", ["red", "a dark blue thing", "words", ""])
@pytest.mark.parametrize("k", [1, 5, 14])
def test_the_nearest_rows_with_their_cosines(filled: Filled, text: str, k: int) -> None:
    hits = search(filled.uri, text, k=k)
    expected = truth(filled, text, "accepted")
    assert len(hits) == k
    similarities = [hit["similarity"] for hit in hits]
    assert similarities == sorted(similarities, reverse=True)
    for hit in hits:
        assert hit["similarity"] == pytest.approx(expected[hit["image_id"]], abs=tolerance(filled))
    best = sorted(expected.values(), reverse=True)[:k]
    assert similarities == pytest.approx(best, abs=tolerance(filled))


def test_a_hit_says_what_it_is(filled: Filled) -> None:
    (hit,) = search(filled.uri, "red", k=1)
    assert set(hit) == {"source_uri", "similarity", "status", "caption", "image_id"}
    assert hit["source_uri"].startswith(f"file://{filled.images}/")


def test_only_accepted_rows_unless_all_are_wanted(filled: Filled) -> None:
    accepted = search(filled.uri, "red", k=1000)
    everything = search(filled.uri, "red", k=1000, everything=True)
    assert {hit["status"] for hit in accepted} == {"accepted"}
    assert ids(accepted) == set(truth(filled, "red", "accepted"))
    assert len(accepted) == filled.accepted
    # Failed rows have no vector, so nothing is near them.
    assert {hit["status"] for hit in everything} == {"accepted", "rejected"}
    assert ids(everything) == set(truth(filled, "red"))
    assert len(everything) == filled.accepted + filled.rejected


def test_a_condition_narrows_before_the_nearest_are_taken(filled: Filled) -> None:
    hits = search(filled.uri, "red", k=2, where="min_side < 30", everything=True)
    assert {hit["status"] for hit in hits} == {"rejected"}
    assert len(hits) == 2
    assert search(filled.uri, "red", where="min_side < 30") == []
    either = search(filled.uri, "red", k=1000, where="min_side < 30 OR min_side >= 30")
    assert {hit["status"] for hit in either} == {"accepted"}


def test_a_version_is_searched_as_it_was(filled: Filled) -> None:
    then = search(filled.uri, "red", k=1000, version=filled.first, everything=True)
    assert ids(then) == set(truth(filled, "red", version=filled.first))
    assert len(then) == 10


def test_a_picture_finds_itself(filled: Filled) -> None:
    for name in ("000003.png", "small21.png"):
        hits = search(filled.uri, image=filled.images / name, k=1, everything=True)
        assert hits[0]["source_uri"] == f"file://{filled.images / name}"
        assert hits[0]["similarity"] == pytest.approx(1, abs=tolerance(filled))


def test_an_image_of_the_table_finds_others_like_it(filled: Filled) -> None:
    (asked,) = search(filled.uri, image=filled.images / "000003.png", k=1)
    for name in (asked["image_id"], asked["image_id"][:12], asked["source_uri"]):
        hits = search(filled.uri, like=name, k=1000, everything=True)
        assert asked["image_id"] not in ids(hits)
        assert len(hits) == filled.accepted + filled.rejected - 1
        by_picture = search(filled.uri, image=filled.images / "000003.png", k=1000, everything=True)
        assert [hit["similarity"] for hit in hits] == pytest.approx(
            [hit["similarity"] for hit in by_picture if hit["image_id"] != asked["image_id"]], abs=tolerance(filled)
        )
    (failed, *_) = clipflow.open(filled.uri).sql("select image_id from images where vector is null")
    with pytest.raises(QueryError, match="has no vector: it failed"):
        search(filled.uri, like=failed["image_id"])
    with pytest.raises(UsageError, match="has no row of"):
        search(filled.uri, like="0123456789ab")


def test_rows_carry_the_columns_asked_for(filled: Filled, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["image_id"]: row for row in clipflow.open(filled.uri).sql("select * exclude vector from images")}
    for hit in search(filled.uri, "red", k=5, columns=["min_side", "embedded_at", "status", "reasons"]):
        row = rows[hit["image_id"]]
        assert {name: hit[name] for name in ("min_side", "embedded_at", "status", "reasons")} == {
            name: row[name] for name in ("min_side", "embedded_at", "status", "reasons")
        }
    with pytest.raises(QueryError, match=r"no column 'min_sid'\. Did you mean 'min_side'"):
        search(filled.uri, "red", columns=["min_sid"])
    assert main(["search", filled.uri, "red", "-k", "2", "--columns", "width", "policy_id"]) == 0
    assert all("width=48" in line and "policy_id=" in line for line in capsys.readouterr().out.splitlines())


def test_attributes_are_asked_for_by_their_names(tmp_path: Path) -> None:
    draw(tmp_path / "images", range(3))
    lines = [{"uri": f"images/{at:06}.png", "locale": f"l{at}"} for at in range(3)]
    (tmp_path / "m.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    source = {"kind": "manifest", "attributes": ["locale"]}
    clipflow.run(job(tmp_path / "m.jsonl", tmp_path / "t.lance", source=source), ray="none")
    for name in ("locale", "attr_locale"):
        found = search(str(tmp_path / "t.lance"), "red", columns=[name])
        assert sorted(hit[name] for hit in found) == ["l0", "l1", "l2"]


def test_a_picture_may_lie_on_s3(filled: Filled, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch)
    there = s3.put("search/a picture.png", (filled.images / "000003.png").read_bytes())
    assert search(filled.uri, image=there, k=3) == search(filled.uri, image=filled.images / "000003.png", k=3)
    with pytest.raises(QueryError, match="does not exist"):
        search(filled.uri, image="s3://open/search/none.png")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, "needs a text, an image or an image_id"),
        ({"text": "red", "image": "a.png"}, "needs a text, an image or an image_id"),
        ({"text": "red", "k": 0}, "k is 0"),
        ({"text": "red", "version": 0}, "versions count from 1"),
        ({"text": "red", "version": -1}, "versions count from 1"),
        ({"text": "red", "where": "colour = 1"}, "The condition 'colour = 1' cannot be used"),
        ({"text": "red", "where": "min_side >"}, "The condition 'min_side >' cannot be used"),
        ({"image": "/nowhere/a.png"}, "There is no picture /nowhere/a.png"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(filled: Filled, how: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        search(filled.uri, **how)


def test_a_condition_on_no_column_is_told_the_columns(filled: Filled) -> None:
    with pytest.raises(QueryError) as caught:
        search(filled.uri, "red", where="colour = 1")
    assert str(caught.value).count("bytes_per_pixel") == 1
    assert "_rowid" not in str(caught.value)


def test_a_file_that_is_no_picture_is_refused(filled: Filled) -> None:
    with pytest.raises(QueryError, match=r"broken.png cannot be decoded: not_an_image"):
        search(filled.uri, image=filled.images / "broken.png")


def test_what_is_no_table_of_images_is_refused(filled: Filled, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="There is no table"):
        search(str(tmp_path / "none.lance"), "red")
    with pytest.raises(TableError, match="does not end in"):
        search(str(tmp_path), "red")
    with pytest.raises(TableError, match="has no version 99"):
        search(filled.uri, "red", version=99)
    with pytest.raises(TableError, match="holds no vectors of clipflow"):
        search(filled.uri.replace(".lance", "_runs.lance"), "red")


def test_other_weights_under_the_encoder_s_name_are_refused(tmp_path: Path) -> None:
    model, table = tmp_path / "model", tmp_path / "t.lance"
    tiny_clip(model)
    draw(tmp_path / "images", range(2))
    clipflow.run(job(tmp_path / "images", table, encoder={"model": str(model)}), ray="none")
    assert len(search(str(table), "a red square")) == 2
    tiny_clip(model, seed=1)
    with pytest.raises(QueryError, match="is no longer the encoder of this table"):
        search(str(table), "a red square")
