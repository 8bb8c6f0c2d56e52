"""Tables of rows that a test makes up, written as real ones, and the contract's words as plain Python."""

import json
import math
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa

from clipflow.encoders import describe
from clipflow.policy.scorers import find_scorer
from clipflow.schema import images_schema, table_metadata, vector_type
from clipflow.spec import EncoderSpec, PolicySpec
from tests.catalogues import STUB

Row = dict[str, Any]

POLICY: dict[str, Any] = {
    "purpose": "A test",
    "owner": "Somebody",
    "rules": [
        {"name": "small", "score": "min_side", "reject_below": 30, "review_below": 50},
        {"name": "odd", "score": "caption", "reject_above": 0.8, "review_above": 0.1},
        {"name": "twin", "score": "near_duplicate", "reject_above": 0.9},
        {"name": "noted", "score": "entropy"},
    ],
}


def write(path: Path, rows: Iterable[Row], policy: dict[str, Any] = POLICY, dim: int = 4) -> Path:
    """A table of these rows; what a row leaves out is null."""
    found = PolicySpec.model_validate(policy)
    stored = [rule.name for rule in found.rules if rule.score not in ("min_side", "entropy", "blur")]
    schema = images_schema(
        vector_type("float16", dim), ["locale"], [f"score_{name}" for name in stored], ["match_twin"]
    )
    info = describe(EncoderSpec.model_validate({**STUB, "model": f"stub:dim={dim}"}))
    known = {rule.name: find_scorer("caption", "").fingerprint(rule, info) for rule in found.rules}
    about = table_metadata(info.card(), found.policy_id, found.body(), {name: known[name] for name in stored})
    whole = [{"policy_id": found.policy_id, "job": "made", **row} for row in rows]
    lance.write_dataset(
        pa.Table.from_pylist(whole, schema.with_metadata(about)),
        str(path),
        mode="overwrite",
        enable_stable_row_ids=True,
    )
    return path


def row(at: int, status: str = "accepted", **more: Any) -> Row:
    """One row; its image_id is its number."""
    return {"image_id": f"{at:032}", "status": status, "reasons": [], **more}


def rounded(number: float) -> float:
    """The nearest float32."""
    (result,) = struct.unpack("f", struct.pack("f", number))
    return float(result)


def score_of(rule: dict[str, Any], row: Row) -> float | None:
    """The stored score; None where there is none."""
    column = rule["score"] if rule["score"] in ("min_side", "entropy") else f"score_{rule['name']}"
    value = row.get(column)
    return None if value is None or math.isnan(value) else rounded(value)


def fires(rule: dict[str, Any], row: Row, kind: str) -> bool:
    """Whether a bound fires, in the contract's words."""
    score, below, above = score_of(rule, row), rule.get(f"{kind}_below"), rule.get(f"{kind}_above")
    if score is None:
        return False
    return (below is not None and score < rounded(below)) or (above is not None and score > rounded(above))


def verdict(rules: list[dict[str, Any]], row: Row, human: bool = True) -> str:
    """The row's status under these rules."""
    if row["status"] == "failed":
        return "failed"
    if human and "source_deleted" in row["reasons"]:
        return "rejected"
    if human and row.get("reviewed_verdict"):
        return str(row["reviewed_verdict"])
    if any(fires(rule, row, "reject") for rule in rules):
        return "rejected"
    return "review" if any(fires(rule, row, "review") for rule in rules) else "accepted"


def by_rules(rows: Iterable[Row], rules: list[dict[str, Any]]) -> list[Row]:
    """The rows with the status that the rules and people give them."""
    return [{**row, "status": verdict(rules, row)} for row in rows]


def plain(document: Any) -> Any:
    """As JSON hands it over."""
    from clipflow.documents import to_json

    return json.loads(to_json(document))
