"""Prompt sensitivity: what the verdicts would be, had the label set been worded another way."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import lance
import numpy as np
import pyarrow as pa

from clipflow.audit.rules import parameters
from clipflow.audit.view import Rows, View
from clipflow.encoders.info import EncoderInfo
from clipflow.policy.judge import judge
from clipflow.policy.scorers import find_scorer
from clipflow.policy.scorers.base import Evidence, Floats, TextEncoder
from clipflow.policy.vectors import stored_vectors
from clipflow.policy.verdict import score_column, stored_scores
from clipflow.schema import SOURCE_DELETED
from clipflow.spec import PolicySpec, Rule

PARAPHRASES = ("a photo of {}", "an image of {}", "a picture of {}", "this is {}", "a photo that shows {}")
"""Templates that mean the same to a reader; the first is CLIP's own (Radford et al. 2021, section 3.1.4)."""

_BATCH_ROWS = 8192


@dataclass
class Variant:
    """One rule under one template.

    Attributes:
        rule: The rule, its templates replaced.
        prepared: What its scorer made of the labels.
        moved: Rows whose verdict is another than under the rule as it stands.
        rejected: How many more rows are rejected.
        shifts: Sum of the absolute differences of the scores, over `scored` rows.
    """

    rule: Rule
    template: str
    own: bool
    prepared: Any
    moved: int = 0
    rejected: int = 0
    shifts: float = 0.0
    scored: int = 0

    def document(self) -> dict[str, Any]:
        """{template, own, moved, rejected, shift}; `own` templates are the rule's, `shift` is the mean difference."""
        shift = self.shifts / self.scored if self.scored else None
        return {
            "template": self.template,
            "own": self.own,
            "moved": self.moved,
            "rejected": self.rejected,
            "shift": shift,
        }


def prompt_sensitivity(view: View, dataset: lance.LanceDataset, encode_texts: TextEncoder) -> dict[str, Rows]:
    """By rule with a label set, each single template: its own, then paraphrases.

    Scores follow from stored vectors by the scorer itself; no image is read.

    Args:
        dataset: The table at the version of the view.
        encode_texts: The table's text encoder.
    """
    info = EncoderInfo.from_card(json.loads(view.about["encoder"]))
    variants = [variant for rule in view.policy.rules if rule.labels for variant in _variants(rule, info, encode_texts)]
    if variants:
        for rows in _batches(view, dataset):
            _count(view.policy, variants, rows, encode_texts)
    found: dict[str, Rows] = {rule.name: [] for rule in view.policy.rules if rule.labels}
    for variant in variants:
        found[variant.rule.name].append(variant.document())
    return found


def _variants(rule: Rule, info: EncoderInfo, encode_texts: TextEncoder) -> Iterator[Variant]:
    own = list(parameters(rule)["templates"])
    scorer = find_scorer(rule.score, rule.name)
    for template in dict.fromkeys([*own, *PARAPHRASES]):
        changed = rule.model_copy(update={"templates": (template,)})
        yield Variant(changed, template, template in own, scorer.prepare(changed, info, encode_texts))


def _batches(view: View, dataset: lance.LanceDataset) -> Iterator[pa.Table]:
    wanted = {"status", "reasons", "reviewed_verdict", "caption", "vector"}
    wanted |= {score_column(rule) for rule in view.policy.rules}
    columns = [name for name in dataset.schema.names if name in wanted]
    for batch in dataset.to_batches(columns=columns, filter="vector IS NOT NULL", batch_size=_BATCH_ROWS):
        yield pa.Table.from_batches([batch])


def _count(policy: PolicySpec, variants: list[Variant], rows: pa.Table, encode_texts: TextEncoder) -> None:
    """Add what one batch of rows says to every variant."""
    stored = stored_scores(policy, rows)
    evidence = Evidence(
        rows.drop_columns("vector"), stored_vectors(rows.column("vector").combine_chunks()), encode_texts
    )
    before = _statuses(policy, stored, rows)
    for variant in variants:
        name = variant.rule.name
        found = find_scorer(variant.rule.score, name).score(variant.rule, variant.prepared, evidence)
        scores: Floats = next(iter(found.values()))
        after = _statuses(policy, {**stored, name: scores}, rows)
        variant.moved += sum(left != right for left, right in zip(before, after, strict=True))
        variant.rejected += after.count("rejected") - before.count("rejected")
        shifts = np.abs(scores.astype(np.float64) - stored[name])
        variant.shifts += float(np.nansum(shifts))
        variant.scored += int(np.isfinite(shifts).sum())


def _statuses(policy: PolicySpec, scores: Mapping[str, Floats], rows: pa.Table) -> list[str]:
    standing = [SOURCE_DELETED if SOURCE_DELETED in (names or ()) else None for names in _list(rows, "reasons")]
    found = judge(policy, scores, [None] * len(rows), standing, _list(rows, "reviewed_verdict"))
    statuses: list[str] = found.status.to_pylist()
    return statuses


def _list(rows: pa.Table, column: str) -> list[Any]:
    found: list[Any] = rows.column(column).to_pylist()
    return found
