"""SQL gives the verdicts that the judge gives."""

import math
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from clipflow.audit.view import View
from clipflow.database import closed_database
from clipflow.policy.judge import judge
from clipflow.spec import PolicySpec
from tests.examples import examples

# 0.1 and 0.9 are not float32: a comparison in float64 would find the score beyond a bound that it equals.
NUMBERS = st.sampled_from([0.0, -0.0, 0.1, 0.9, 1 / 3, 16777217.0, -2.5]) | st.floats(-1e30, 1e30)
SCORES = NUMBERS | st.sampled_from([math.nan, math.inf, -math.inf]) | st.none()
KEYS = ("review_below", "review_above", "reject_below", "reject_above")
NAMES = ("a", "b_c", "status", "order")
POLICIES = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(NAMES), "score": st.just("caption")}, optional=dict.fromkeys(KEYS, NUMBERS)
    ),
    max_size=4,
    unique_by=lambda rule: rule["name"],
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            **{f"score_{name}": SCORES for name in NAMES},
            "failed": st.booleans(),
            "gone": st.booleans(),
            "reviewed_verdict": st.sampled_from([None, None, "accepted", "rejected"]),
        }
    ),
    min_size=1,
    max_size=12,
)
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("image_id", "status", "reviewed_verdict", "job", "policy_id")),
        pa.field("reasons", pa.list_(pa.string())),
        pa.field("source_modified", pa.timestamp("us", tz="UTC")),
        *(pa.field(f"score_{name}", pa.float32()) for name in NAMES),
    ]
)


@examples(80)
@given(POLICIES, ROWS)
def test_sql_judges_as_the_judge_does(rules: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    policy = PolicySpec.model_validate({"rules": rules})
    stored = [
        {
            **row,
            "image_id": str(at),
            "status": "failed" if row["failed"] else "accepted",
            "reasons": ["corrupt"] if row["failed"] else ["source_deleted"] if row["gone"] else [],
        }
        for at, row in enumerate(rows)
    ]
    scores = {
        rule.name: np.array(
            [math.nan if row[f"score_{rule.name}"] is None else row[f"score_{rule.name}"] for row in rows], np.float32
        )
        for rule in policy.rules
    }
    failures = ["corrupt" if row["failed"] else None for row in rows]
    standing = ["source_deleted" if row["gone"] else None for row in rows]
    reviews = [row["reviewed_verdict"] for row in rows]
    with closed_database() as db:
        db.register("stored", pa.Table.from_pylist(stored, SCHEMA))
        nothing_else = pa.table(
            {"image_id": [row["image_id"] for row in stored]}, pa.schema([SCHEMA.field("image_id")])
        )
        view = View(db, "none", "stored", SCHEMA, 1, {}, PolicySpec(), {}).under("judged", policy, nothing_else)
        found = view.ask("SELECT image_id, status, ruled FROM {view} ORDER BY CAST(image_id AS INTEGER)")
    assert [row["status"] for row in found] == judge(policy, scores, failures, standing, reviews).status.to_pylist()
    assert [row["ruled"] for row in found] == judge(policy, scores, failures).status.to_pylist()
