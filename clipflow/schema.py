"""The table's columns, once: names, types and meaning.

`images_schema` adds the columns that a job declares (attributes, scores, the vector's size) to the fixed ones.
`RUNS` and `FORGOTTEN` are the two small tables beside it. `ImageRow` is one row as a pydantic model.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, create_model

SCHEMA_VERSION = 1
"""Goes up when older versions would misread a table; columns that may be null are added without."""

TIME = pa.timestamp("us", tz="UTC")
_KEY = {b"lance-schema:unenforced-primary-key": b"true"}


class Column(NamedTuple):
    """One column: its Arrow type, and what it says in one line."""

    name: str
    type: pa.DataType
    doc: str
    nullable: bool = True


IDENTITY = (
    Column("image_id", pa.string(), "first 32 hex digits of sha256(source_uri); the key", nullable=False),
    Column("source_uri", pa.string(), "canonical address of the object"),
    Column("source_etag", pa.string(), "the store's entity tag; for files modification time and size"),
    Column("source_version", pa.string(), "the store's version id, where it keeps versions"),
    Column("source_size", pa.int64(), "bytes"),
    Column("source_modified", TIME, "when the store says the object was last modified"),
    Column("source_id", pa.string(), "the source that last listed it, see `source_id`; null in older rows"),
    Column("container_members", pa.int64(), "how many images the container of the object has; null outside containers"),
    Column("first_seen_at", TIME, "since when these bytes are known under this address; null in older rows"),
    Column("content_sha256", pa.string(), "sha256 of the bytes, 64 hex digits"),
    Column("phash", pa.string(), "perceptual hash of the pixels, 16 hex digits"),
)
IMAGE = (
    Column("media_type", pa.string(), "what the bytes are, e.g. image/jpeg"),
    Column("width", pa.int32(), "pixels, after EXIF orientation"),
    Column("height", pa.int32(), "pixels, after EXIF orientation"),
    Column("min_side", pa.float32(), "the shorter side, pixels"),
    Column("aspect_ratio", pa.float32(), "longer side divided by shorter side"),
    Column("megapixels", pa.float32(), "width times height, millions"),
    Column("blur", pa.float32(), "variance of the Laplacian of luma; low is blurred"),
    Column("entropy", pa.float32(), "Shannon entropy of the luma histogram, bits"),
    Column("bytes_per_pixel", pa.float32(), "bytes of the file per pixel"),
    Column("damaged", pa.float32(), "1 where the decoder had to guess, else 0; null in older rows"),
    Column("caption", pa.string(), "the manifest's caption"),
)
RESULT = (
    Column("status", pa.string(), "accepted | review | rejected | failed"),
    Column("reasons", pa.list_(pa.string()), "names of the rules that fired, sorted; for failed the one code"),
    Column("attempts", pa.int32(), "how often this state of the source was tried"),
    Column(
        "failed_under",
        pa.string(),
        "what a failure follows from: a limit, the decoder's revision; beside a vector what attempts count: code@state",
    ),
    Column("status_at", TIME, "when the status last changed; null in older rows, where judged_at says it"),
    Column("reviewed_verdict", pa.string(), "a human's verdict; outranks the policy until withdrawn"),
    Column("reviewed_by", pa.string(), "who reviewed"),
    Column("reviewed_why", pa.string(), "why, in the reviewer's words"),
    Column("reviewed_at", TIME, "when"),
)
PROVENANCE = (
    Column("encoder_id", pa.string(), "which encoder made the vector; the card stands in the schema metadata"),
    Column("policy_id", pa.string(), "which policy gave status and reasons"),
    Column("run_id", pa.string(), "which run wrote the row; its row stands in the runs table"),
    Column("job", pa.string(), "the job's name"),
    Column("dag_id", pa.string(), "the Airflow DAG that started the run"),
    Column("dag_run_id", pa.string(), "the Airflow run"),
    Column("interval_start", TIME, "start of the run's interval, inclusive"),
    Column("interval_end", TIME, "end of the run's interval, exclusive"),
    Column("embedded_at", TIME, "when the vector, or the failure, came to be"),
    Column("judged_at", TIME, "when status and reasons came to be"),
    Column("clipflow_version", pa.string(), "the version that wrote the row"),
)
COLUMNS = IDENTITY + IMAGE + RESULT + PROVENANCE

MEASURES = ("min_side", "aspect_ratio", "megapixels", "blur", "entropy", "bytes_per_pixel", "damaged")
DETAIL = ("phash", "blur", "entropy")
"""What only the pixels of the whole image tell; null where it was decoded smaller than it is."""
PIXEL_COLUMNS = ("phash", "media_type", "width", "height", *MEASURES)
SOURCE_STATE = ("source_etag", "source_version", "source_size", "source_modified")
REVIEW_COLUMNS = ("reviewed_verdict", "reviewed_by", "reviewed_why", "reviewed_at")

COUNTS = ("listed", "unchanged", "reused", "embedded", "failed", "forgotten")
VERDICTS = ("accepted", "review", "rejected")
SOURCE_DELETED = "source_deleted"
"""The reason, beside rules, of a row whose object is gone; it rejects."""

RUNS = pa.schema(
    [
        pa.field("run_id", pa.string(), nullable=False, metadata=_KEY),
        *(pa.field(name, pa.string()) for name in ("verb", "state", "job", "spec", "fingerprint")),
        *(pa.field(name, pa.string()) for name in ("encoder_id", "encoder", "policy_id", "policy")),
        pa.field("interval_start", TIME),
        pa.field("interval_end", TIME),
        *(pa.field(name, TIME) for name in ("started_at", "heartbeat_at", "ended_at")),
        *(pa.field(name, pa.int64()) for name in ("from_version", "to_version", *COUNTS, *VERDICTS, "repeated")),
        *(pa.field(name, pa.string()) for name in ("reasons", "seconds", "error", "context", "clipflow_version")),
        # Where the operation runs, see `table.process`.
        pa.field("process", pa.string()),
        # What a verb other than run says of itself, as JSON.
        pa.field("detail", pa.string()),
    ],
    metadata={b"schema_version": str(SCHEMA_VERSION).encode()},
)
FORGOTTEN = pa.schema(
    [
        pa.field("hash", pa.string(), nullable=False, metadata=_KEY),
        pa.field("kind", pa.string()),
        pa.field("run_id", pa.string()),
        pa.field("forgotten_at", TIME),
    ],
    metadata={b"schema_version": str(SCHEMA_VERSION).encode()},
)


def vector_type(kind: str, dim: int) -> pa.DataType:
    """`fixed_size_list<float16 | float32, dim>`."""
    return pa.list_(pa.float16() if kind == "float16" else pa.float32(), dim)


def images_schema(
    vector: pa.DataType, attributes: Sequence[str] = (), scores: Sequence[str] = (), matches: Sequence[str] = ()
) -> pa.Schema:
    """The images table of a job.

    Args:
        vector: See `vector_type`.
        attributes: Names of the declared attributes, each a column `attr_<name>`.
        scores: Full names of the score columns, `score_<rule>` or `score_<rule>__<label>`.
        matches: Full names of the match columns, `match_<rule>`.
    """
    fields = [pa.field(c.name, c.type, c.nullable, _KEY if c.name == "image_id" else None) for c in COLUMNS]
    fields += [pa.field(f"attr_{name}", pa.string()) for name in attributes]
    fields += [pa.field(name, pa.float32()) for name in scores]
    fields += [pa.field(name, pa.string()) for name in matches]
    return pa.schema([*fields, pa.field("vector", vector)])


def table_metadata(
    encoder: Mapping[str, Any], policy_id: str, policy: Mapping[str, Any], scores: Mapping[str, str]
) -> dict[str, str]:
    """What the schema metadata of an images table says of all its rows.

    Args:
        scores: By rule name the fingerprint of its scores, see `policy.check.fingerprints`; kept by policy.
    """
    return {
        "schema_version": str(SCHEMA_VERSION),
        "encoder_id": str(encoder["encoder_id"]),
        "encoder": json.dumps(encoder, sort_keys=True),
        "policy_id": policy_id,
        "policy": json.dumps(policy, sort_keys=True),
        "scores": json.dumps({policy_id: scores}, sort_keys=True),
        # See `table.first_seen`.
        "duplicates_order": "first_seen_at",
    }


def _python_type(kind: pa.DataType) -> Any:
    if pa.types.is_timestamp(kind):
        return datetime
    if pa.types.is_integer(kind):
        return int
    if pa.types.is_floating(kind):
        return float
    return list[str] if pa.types.is_list(kind) else str


_FIELDS: dict[str, Any] = {
    c.name: (_python_type(c.type), ...) if not c.nullable else (_python_type(c.type) | None, None) for c in COLUMNS
}
ImageRow: type[BaseModel] = create_model(
    "ImageRow",
    __config__=ConfigDict(extra="allow", frozen=True),
    **_FIELDS,
    vector=(list[float] | None, None),
)
