"""The job: what to embed, with which encoder, by which policy, into which table.

`JobSpec` is frozen and knows every key of a job file. Reading a file, with errors that
name the line and the nearest key, is the business of `clipflow.jobfile`.
"""

import hashlib
import json
import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, field_validator, model_validator

from clipflow.uri import canonical

Scalar = str | int | float | bool

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+)\s*([smhd])")
ATTRIBUTE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def _duration(value: object) -> object:
    """Accept `6h`, `30m`, `90s`, `2d` beside what pydantic reads."""
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return timedelta(seconds=int(found[1]) * _UNITS[found[2]])
    return value


def _whole(value: object) -> object:
    """Accept `100e6`, which YAML hands over as a string, as a whole number."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    return int(value) if isinstance(value, float) and value.is_integer() else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
# Bounds are compared as float32.
Bound = Annotated[float, Field(ge=-3.4e38, le=3.4e38)]
Whole = Annotated[int, BeforeValidator(_whole)]


class Part(BaseModel):
    """Frozen, and an unknown key is an error; so is a number that JSON cannot write."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StorageSpec(Part):
    """Where an S3 store answers, when the environment does not say so. Never holds secrets."""

    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None


DEFAULT_EXCLUDE = (
    *("._*", ".DS_Store", ".Spotlight-V100", ".Trashes", ".fseventsd", "__MACOSX"),  # macOS
    *("Thumbs.db", "ehthumbs.db", "desktop.ini", "$RECYCLE.BIN", "System Volume Information"),  # Windows
    *("lost+found", ".Trash-*", ".directory", "#recycle", "#snapshot", "@eaDir", "@tmp", ".snapshot"),  # Unix, NAS
    *("_SUCCESS", "_STARTED", "_COMMITTED", "_temporary", "_spark_metadata", "_started_*", "_committed_*"),  # Hadoop
    *("*.crc", "*_$folder$", ".keep", ".gitkeep", ".git"),
    *("*.lance", "*.parquet", "*.csv", "*.csv.*", "*.jsonl", "*.jsonl.*", "*.ndjson", "*.ndjson.*", "*.html"),  # ours
)
"""What a listing leaves out unless a job says otherwise: what systems, stores and clipflow itself put beside images."""


class SourceSpec(Part):
    """The images: objects under a prefix or glob, or the rows of a manifest."""

    kind: Literal["objects", "manifest"] = "objects"
    uri: str
    window: Literal["all", "modified", "path"] = "all"
    uri_column: str | None = Field(default=None, min_length=1)
    modified: str | None = None
    etag: str | None = None
    size: str | None = None
    lateness: Duration = timedelta(0)
    deleted: Literal["keep", "reject"] = "keep"
    exclude: tuple[str, ...] | None = None
    caption: str | None = None
    attributes: tuple[str, ...] = ()
    allow_private: bool = False
    storage: StorageSpec = StorageSpec()

    @property
    def source_id(self) -> str:
        """Whose rows they are: a hash of kind and address, 16 hex digits. A path in time is one source."""
        return digest({"kind": self.kind, "uri": canonical(self.uri).rstrip("/")})[:16]

    @field_validator("attributes")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not ATTRIBUTE_NAME.fullmatch(name):
                raise ValueError(f"attribute {name!r} must be letters, digits and underscores")
        seen: dict[str, str] = {}
        for name in value:
            other = seen.setdefault(name.lower(), name)
            if name == other and value.count(name) > 1:
                raise ValueError(f"the attribute {name!r} is named twice")
            if name != other:
                raise ValueError(
                    f"the attributes {other!r} and {name!r} differ only in case, which SQL does not tell apart"
                )
        return value

    @field_validator("lateness")
    @classmethod
    def _late(cls, value: timedelta) -> timedelta:
        if value < timedelta(0):
            raise ValueError("lateness must not be negative")
        return value

    @field_validator("exclude")
    @classmethod
    def _patterns(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if any(not one.strip("/") for one in value or ()):
            raise ValueError("exclude holds an empty pattern")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "manifest" and self.exclude is not None:
            raise ValueError("exclude narrows a listing of objects; a manifest names its images one by one")
        if self.kind == "objects":
            columns = ("uri_column", "caption", "modified", "etag", "size")
            given = [k for k in columns if getattr(self, k)] + ["attributes"] * bool(self.attributes)
            if given:
                raise ValueError(f"{given[0]} is a column of a manifest; this source is kind: objects")
        elif self.window == "modified" and not self.modified:
            raise ValueError("window: modified on a manifest needs modified: COLUMN, the column that holds the time")
        if bool(self.etag) != bool(self.size):
            raise ValueError("etag and size are given together: neither says alone whether an object changed")
        return self


class EncoderSpec(Part):
    """The encoder: a hub id, a local folder, or `demo`."""

    model: str = Field(min_length=1)
    revision: str | None = None
    loader: str | None = None
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    trust_remote_code: bool = False
    code_revision: str | None = None
    truncate_dim: int | None = Field(default=None, ge=1)
    allow_pickle: bool = False


class Limits(Part):
    """What one image, and one run, may cost. Bytes and pixels are inclusive upper bounds.

    Attributes:
        max_failed_share: So many of a run's images may fail, as a share; failures of a file's own bytes do not count.
        max_failed_from: The share counts from so many images on.
        fail_on: `any` counts failures of a file's own bytes, too.
        max_withdrawn_share: So many of a source's rows, as a share, may be withdrawn at once because their objects are
            gone; 20 rows always may.
    """

    max_failed_share: float = Field(default=0.5, ge=0, le=1)
    max_failed_from: int = Field(default=20, ge=1)
    fail_on: Literal["passing", "any"] = "passing"
    max_withdrawn_share: float = Field(default=0.2, ge=0, le=1)
    max_attempts: int = Field(default=3, ge=1)
    max_bytes: ByteSize = Field(default=ByteSize(64_000_000), gt=0)
    max_pixels: Whole = Field(default=100_000_000, gt=0)


_LATER_LIMITS = ("max_failed_from", "fail_on", "max_withdrawn_share")


class Rule(Part):
    """One rule of a policy: a score, and the bounds beyond which it fires."""

    name: str
    score: str
    review_below: Bound | None = None
    review_above: Bound | None = None
    reject_below: Bound | None = None
    reject_above: Bound | None = None
    labels: dict[str, str | tuple[str, ...]] | None = None
    templates: tuple[str, ...] | None = None
    label: str | None = None
    none: str | None = None
    closed: bool | None = None
    keep: tuple[str, ...] | None = None
    weights: str | None = None
    clusters: int | None = None
    epsilon: float | None = None
    sql: str | None = None

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", value) or "__" in value:
            raise ValueError(f"rule name {value!r} must match [a-z][a-z0-9_]* and hold no double underscore")
        return value

    @property
    def bounds(self) -> dict[str, float]:
        """The bounds that are set, by key."""
        keys = ("review_below", "review_above", "reject_below", "reject_above")
        return {key: bound for key in keys if (bound := getattr(self, key)) is not None}


class PolicySpec(Part):
    """Named rules; their order does not matter. No rule accepts everything."""

    rules: tuple[Rule, ...] = ()
    purpose: str | None = None
    owner: str | None = None
    contact: str | None = None

    @field_validator("rules")
    @classmethod
    def _distinct(cls, value: tuple[Rule, ...]) -> tuple[Rule, ...]:
        names = [rule.name for rule in value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules are called {twice[0]!r}")
        return value

    def body(self) -> dict[str, Any]:
        """The policy as plain data, rules sorted by name, unset keys left out."""
        body = self.model_dump(mode="json", exclude_none=True)
        body["rules"] = sorted(body["rules"], key=lambda rule: rule["name"])
        return body

    @property
    def policy_id(self) -> str:
        """sha256 of the canonical JSON of `body()`."""
        return digest(self.body())


class TableSpec(Part):
    """The Lance table that receives one row per image."""

    uri: str
    vector: Literal["float16", "float32"] = "float16"
    commit_rows: int = Field(default=50_000, ge=1)
    storage: StorageSpec = StorageSpec()


class ComputeSpec(Part):
    """How much of the cluster the encoder takes."""

    gpus_per_encoder: float | None = Field(default=None, ge=0)
    encoders: tuple[int, int] | None = None
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    backend: Literal["torch", "openvino"] = "torch"
    compile: bool = False

    def images_at_once(self, *, gpu: bool) -> int:
        """Images per pass through the encoder."""
        if self.batch_size == "auto":
            return 128 if gpu else 32
        return self.batch_size

    @field_validator("encoders")
    @classmethod
    def _ordered(cls, value: tuple[int, int] | None) -> tuple[int, int] | None:
        if value is not None and not 1 <= value[0] <= value[1]:
            raise ValueError("encoders is [at least, at most], both 1 or more")
        return value


class JobSpec(Part):
    """A whole job. Build it from keywords, or read it with `clipflow.jobfile.read_job`."""

    name: str = Field(min_length=1)
    source: SourceSpec
    encoder: EncoderSpec
    policy: PolicySpec = PolicySpec()
    table: TableSpec
    limits: Limits = Limits()
    compute: ComputeSpec = ComputeSpec()
    decode: Literal["exact", "draft"] = "exact"
    retention_days: int | None = Field(default=None, ge=1)
    context: dict[str, Scalar | None] = {}

    def body(self) -> dict[str, Any]:
        """The job as plain data, unset keys left out."""
        body = self.model_dump(mode="json", exclude_none=True)
        # Left out where they say nothing, or jobs of before would have another fingerprint.
        defaults = Limits().model_dump(mode="json")
        for name in _LATER_LIMITS:
            if body["limits"][name] == defaults[name]:
                del body["limits"][name]
        return body

    @property
    def fingerprint(self) -> str:
        """sha256 of the canonical JSON without `context`: equal for equal jobs, whoever started them."""
        return digest({key: value for key, value in self.body().items() if key != "context"})


def digest(value: object) -> str:
    """sha256, 64 hex digits, of the canonical JSON: sorted keys, no blanks, UTF-8."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
