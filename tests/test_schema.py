"""The columns, held against the contract's list."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from clipflow import schema
from clipflow.schema import COLUMNS, FORGOTTEN, RUNS, ImageRow, images_schema, table_metadata, vector_type

_TEXT = (
    "image_id source_uri source_etag source_version content_sha256 phash media_type caption status encoder_id "
    "policy_id run_id job dag_id dag_run_id clipflow_version reviewed_verdict reviewed_by reviewed_why source_id "
    "failed_under"
)
_TIME = "source_modified first_seen_at interval_start interval_end embedded_at judged_at status_at reviewed_at"
TIME = pa.timestamp("us", tz="UTC")
CONTRACT: dict[str, pa.DataType] = {
    **dict.fromkeys(_TEXT.split(), pa.string()),
    **dict.fromkeys(_TIME.split(), TIME),
    **dict.fromkeys(["width", "height", "attempts"], pa.int32()),
    **dict.fromkeys(
        ["min_side", "aspect_ratio", "megapixels", "blur", "entropy", "bytes_per_pixel", "damaged"], pa.float32()
    ),
    "source_size": pa.int64(),
    "container_members": pa.int64(),
    "reasons": pa.list_(pa.string()),
}
KEY = {b"lance-schema:unenforced-primary-key": b"true"}


def test_the_fixed_columns_are_the_contract_s() -> None:
    assert {column.name: column.type for column in COLUMNS} == CONTRACT
    assert len(COLUMNS) == len(CONTRACT), "a column stands twice"


def test_every_column_says_what_it_holds() -> None:
    docs = [column.doc for column in COLUMNS]
    assert all(docs)
    repeated = {doc for doc in docs if docs.count(doc) > 1}
    assert repeated == {"pixels, after EXIF orientation"}, "width and height alone are of one kind"


@pytest.mark.parametrize(("kind", "type_"), [("float16", pa.float16()), ("float32", pa.float32())])
def test_a_job_adds_attributes_scores_matches_and_the_vector(kind: str, type_: pa.DataType) -> None:
    made = images_schema(vector_type(kind, 16), ["uploader"], ["score_a", "score_b__text"], ["match_c"])
    added = {field.name: field.type for field in made if field.name not in CONTRACT}
    assert added == {
        "attr_uploader": pa.string(),
        "score_a": pa.float32(),
        "score_b__text": pa.float32(),
        "match_c": pa.string(),
        "vector": pa.list_(type_, 16),
    }
    assert made.names[-1] == "vector"


def test_only_the_key_may_not_be_null() -> None:
    made = images_schema(vector_type("float16", 4), ["a"], ["score_a"])
    assert [field.name for field in made if not field.nullable] == ["image_id"]
    assert made.field("image_id").metadata == KEY
    assert [field.name for field in made if field.metadata] == ["image_id"]


def test_no_column_is_nested() -> None:
    for field in images_schema(vector_type("float16", 4)):
        assert not pa.types.is_struct(field.type)
        assert not pa.types.is_map(field.type)


def test_measures_and_states_are_columns() -> None:
    names = {column.name for column in COLUMNS}
    for group in (schema.MEASURES, schema.PIXEL_COLUMNS, schema.SOURCE_STATE, schema.REVIEW_COLUMNS):
        assert set(group) <= names
    assert {CONTRACT[name] for name in schema.MEASURES} == {pa.float32()}


def test_the_runs_table_has_what_an_operation_must_tell() -> None:
    told = (
        "run_id verb state spec encoder policy from_version to_version context seconds reasons heartbeat_at started_at "
        "ended_at error detail fingerprint encoder_id policy_id interval_start interval_end clipflow_version job "
        "process"
    )
    counts = "listed unchanged reused embedded failed forgotten accepted review rejected repeated"
    assert set(RUNS.names) == {*told.split(), *counts.split()}
    assert {RUNS.field(name).type for name in counts.split()} == {pa.int64()}
    assert {RUNS.field(name).type for name in ("started_at", "heartbeat_at", "ended_at")} == {TIME}


@pytest.mark.parametrize(("table", "key"), [(RUNS, "run_id"), (FORGOTTEN, "hash")])
def test_the_small_tables_have_a_key_too(table: pa.Schema, key: str) -> None:
    assert [field.name for field in table if not field.nullable] == [key]
    assert table.field(key).metadata == KEY
    assert table.metadata == {b"schema_version": b"1"}


def test_the_metadata_names_version_encoder_and_policy() -> None:
    card = {"encoder_id": "e" * 64, "model": "demo", "dim": 4}
    said = table_metadata(card, "p" * 64, {"rules": []}, {"fits": "f" * 64})
    assert (said["schema_version"], said["encoder_id"], said["policy_id"]) == ("1", "e" * 64, "p" * 64)
    assert (json.loads(said["encoder"]), json.loads(said["policy"])) == (card, {"rules": []})


def row(**more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "width": 3,
        "blur": 1.5,
        "reasons": ["a"],
        "embedded_at": datetime(2026, 11, 1, tzinfo=UTC),
    }
    return {"image_id": "0" * 32, "source_uri": "file:///a.png", **values, "vector": [0.5, 0.5], **more}


def test_a_row_reads_as_an_object() -> None:
    read = ImageRow.model_validate(row(attr_uploader="me", score_a=0.5))
    assert set(ImageRow.model_fields) == {*CONTRACT, "vector"}
    assert read.model_dump(exclude_none=True) == row(attr_uploader="me", score_a=0.5)


@pytest.mark.parametrize("wrong", [{"image_id": None}, {"width": "wide"}, {"reasons": "a"}, {"embedded_at": "soon"}])
def test_a_row_of_other_types_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ImageRow.model_validate(row(**wrong))
    with pytest.raises(ValidationError):
        ImageRow.model_validate({key: value for key, value in row().items() if key != "image_id"})
