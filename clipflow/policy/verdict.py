"""The verdict of rows as the table holds them: from stored scores, without pixels and without an encoder (law 6)."""

import numpy as np
import pyarrow as pa

from clipflow.policy.judge import Verdicts, judge
from clipflow.policy.scorers import find_scorer
from clipflow.policy.scorers.base import Floats
from clipflow.schema import SOURCE_DELETED
from clipflow.spec import PolicySpec, Rule


def score_column(rule: Rule) -> str:
    """The column whose number a rule's bounds compare: its own, or the measure that it names."""
    own = find_scorer(rule.score, rule.name).columns(rule)
    return own[0] if own else rule.score


def stored_scores(policy: PolicySpec, rows: pa.Table) -> dict[str, Floats]:
    """By rule name the stored scores of N rows, float32 [N]; null, or a column that the rows lack, is NaN."""
    return {rule.name: _floats(rows, score_column(rule)) for rule in policy.rules}


def verdicts(policy: PolicySpec, rows: pa.Table) -> Verdicts:
    """Statuses and reasons of N rows under a policy.

    Args:
        rows: With status, reasons, reviewed_verdict, and the columns that the rules score by. A failed row stays
            failed; `source_deleted` stands until a run finds the object again, and outranks a human's verdict, which
            outranks the rules: empty its column first to learn what the rules say.
    """
    statuses, reasons = rows.column("status").to_pylist(), rows.column("reasons").to_pylist()
    failures = [names[0] if status == "failed" else None for status, names in zip(statuses, reasons, strict=True)]
    standing = [SOURCE_DELETED if SOURCE_DELETED in (names or ()) else None for names in reasons]
    return judge(policy, stored_scores(policy, rows), failures, standing, rows.column("reviewed_verdict").to_pylist())


def _floats(rows: pa.Table, column: str) -> Floats:
    if column not in rows.column_names:
        return np.full(len(rows), np.nan, np.float32)
    values: Floats = rows.column(column).to_numpy().astype(np.float32)
    return values
