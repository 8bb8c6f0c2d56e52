"""A policy against people: how often the two disagree, rule by rule, and which bounds would keep a promise."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from clipflow.audit.confusion import confusion_by_group, policy_errors, rule_errors
from clipflow.audit.curve import curve, threshold
from clipflow.audit.evaluation import Evaluation
from clipflow.audit.firing import judged
from clipflow.audit.labels import read_labels
from clipflow.audit.sensitivity import moved_count, rejected_change, with_bound
from clipflow.audit.view import KINDS, Rows, View, open_view
from clipflow.database import closed_database
from clipflow.errors import SourceError, UsageError
from clipflow.policy.scorers.base import Floats
from clipflow.spec import Rule, StorageSpec
from clipflow.table.address import TableAddress
from clipflow.table.images import open_images


def evaluate(
    table: str,
    labels: str,
    *,
    by: Sequence[str] = (),
    max_false_reject: float | None = None,
    min_group: int = 20,
    storage: StorageSpec | None = None,
) -> Evaluation:
    """Compare the rules' own verdicts with people's; what a person said in the table does not count here.

    Args:
        labels: See `audit.labels.read_labels`.
        by: As for `audit.audit.audit`.
        max_false_reject: A share: for every bound, also find the one that rejects most within it.
        min_group: Groups of fewer matched labels are suppressed.

    Raises:
        SourceError: The labels cannot be read, or none has a row.
        QueryError, TableError, UsageError: A column, the table or a number is wrong.
    """
    if max_false_reject is not None and not 0 <= max_false_reject <= 1:
        raise UsageError(f"--max-false-reject is {max_false_reject:g}; it is a share from 0 to 1.", "Give 0.02.")
    if min_group < 1:
        raise UsageError(f"--min-group is {min_group}; it must be 1 or more.", "Give --min-group 20.")
    address = TableAddress.of(table, storage)
    dataset = open_images(address)
    said = read_labels(labels, address.storage)
    with closed_database() as db:
        view = open_view(db, "images", address, dataset, list(dict.fromkeys(by)))
        db.register("labels", said.table)
        db.execute(f"CREATE TEMP TABLE labelled AS SELECT * FROM {view.name} JOIN labels USING (image_id)")
        labelled = replace(view, name=f"({_SOUND})")
        matched = labelled.one("SELECT count(*) AS n FROM {view}")["n"]
        if not matched:
            raise SourceError(
                f"None of the {len(said.verdicts)} images that {labels} labels has a row in {address.uri} to compare.",
                "Give the table's image_id or source_uri.",
            )
        shown, suppressed = confusion_by_group(labelled, min_group)
        return Evaluation(
            table=address.uri,
            version=view.version,
            labels=len(said.verdicts),
            repeated=said.repeated,
            contradictory=said.contradictory,
            matched=matched,
            failed=view.one("SELECT count(*) AS n FROM labelled WHERE status = 'failed'")["n"],
            confusion=labelled.ask(
                "SELECT human, ruled AS policy, count(*) AS n FROM {view} GROUP BY ALL ORDER BY ALL"
            ),
            overall=policy_errors(labelled),
            by=list(view.by),
            min_group=min_group,
            groups=shown,
            suppressed=suppressed,
            rules=_rules(view, labelled, max_false_reject),
            max_false_reject=max_false_reject,
        )


_SOUND = "SELECT * FROM labelled WHERE status <> 'failed'"


def _rules(view: View, labelled: View, most: float | None) -> Rows:
    """Per rule its errors, its curves, and for each bound the one that keeps the promise."""
    ordered = sorted(view.policy.rules, key=lambda rule: rule.name)
    columns = ", ".join([f"s_{rule.name}" for rule in ordered] + ["human = 'rejected' AS wrong"])
    rows = view.db.sql(f"SELECT {columns} FROM {labelled.name}").to_arrow_table()
    rejected = rows.column("wrong").to_numpy()
    found = []
    for rule in ordered:
        scores = _floats(rows, f"s_{rule.name}")
        errors = {kind: rule_errors(labelled, rule, kind) if _bounded(rule, kind) else None for kind in KINDS}
        sides = dict.fromkeys(bound.endswith("above") for bound in rule.bounds)
        kept = [] if most is None else [_threshold(rule, bound, scores, rejected, most) for bound in rule.bounds]
        found.append(
            {
                "rule": rule.name,
                "score": rule.score,
                "bounds": rule.bounds,
                "scored": int((~np.isnan(scores)).sum()),
                **errors,
                "curves": [curve(scores, rejected, above=above) for above in sides],
                "thresholds": kept,
            }
        )
    _count_moves(view, {rule.name: rule for rule in ordered}, found)
    return found


def _threshold(rule: Rule, bound: str, scores: Floats, rejected: np.ndarray, most: float) -> dict[str, Any]:
    found = threshold(scores, rejected, most, above=bound.endswith("above"))
    return {"bound": bound, "value": rule.bounds[bound], **found, "moved": None, "rejected": None}


def _count_moves(view: View, rules: dict[str, Rule], found: Rows) -> None:
    """How many rows of the table each threshold would move, in one pass."""
    wanted = [(entry["rule"], one) for entry in found for one in entry["thresholds"] if one["threshold"] is not None]
    if not wanted:
        return
    before, parts = judged("ruled"), []
    for at, (name, one) in enumerate(wanted):
        after = judged(with_bound(view, rules[name], one["bound"], one["threshold"]))
        parts += [moved_count(before, after, f"m{at}"), rejected_change(before, after, f"r{at}")]
    counted = view.one(f"SELECT {', '.join(parts)} FROM {{view}}")
    for at, (_, one) in enumerate(wanted):
        one |= {"moved": counted[f"m{at}"], "rejected": counted[f"r{at}"]}


def _bounded(rule: Rule, kind: str) -> bool:
    return any(bound.startswith(kind) for bound in rule.bounds)


def _floats(rows: pa.Table, column: str) -> Floats:
    return np.asarray(rows.column(column).to_numpy(), np.float32)
