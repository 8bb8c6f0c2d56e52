"""Scores of rows that are stored already: taken where they follow from the same, computed from the row where not."""

from collections.abc import Mapping, Sequence
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.policy.judge import Bools
from clipflow.policy.scorers import find_scorer
from clipflow.policy.scorers.base import Evidence, Floats, TextEncoder
from clipflow.policy.settle import depends_on_rows
from clipflow.policy.vectors import stored_vectors
from clipflow.spec import PolicySpec, Rule
from clipflow.table.census import Census

_ROWS = 8_192

Fingerprints = Mapping[str, str]


def known_scores(
    census: Census, policy: PolicySpec, now: Fingerprints, then: Mapping[str, Fingerprints]
) -> dict[str, Bools]:
    """By rule bool [N]: rows whose stored scores follow from what they would follow from now.

    Args:
        now: By rule, see `policy.check.fingerprints`.
        then: The same of every policy that rows may have been judged by, by policy_id.
    """
    ids = census.strings("policy_id")
    found = {rule.name: np.zeros(len(census), bool) for rule in policy.rules}
    for policy_id, prints in then.items():
        by_it = pc.equal(ids, policy_id).fill_null(False).to_numpy(zero_copy_only=False)
        for rule in policy.rules:
            if prints.get(rule.name) == now.get(rule.name) and not depends_on_rows(rule, policy):
                found[rule.name] |= by_it
    return found


def rescore(
    dataset: lance.LanceDataset,
    census: Census,
    policy: PolicySpec,
    prepared: Mapping[str, Any],
    known: Mapping[str, Bools],
    encode_texts: TextEncoder,
) -> dict[str, Floats]:
    """The score columns of the policy, float32 [N] by name; of duplicates, which `policy.settle` tells, as stored.

    Args:
        dataset: The version that the census was made of.
        known: By rule bool [N], rows whose stored scores are right; see `known_scores`.
    """
    columns = {name: census.floats(name) for rule in policy.rules for name in _columns(rule)}
    scored = [rule for level in ("row", "derived") for rule in policy.rules if _level(rule) == level and _columns(rule)]
    asked = {rule.name: ~known[rule.name] for rule in scored}
    scored = [rule for rule in scored if asked[rule.name].any()]
    for rule in scored:
        for name in _columns(rule):
            columns[name][asked[rule.name]] = np.nan
    if not scored:
        return columns
    at = 0
    for batch in dataset.scanner(columns=_read(dataset, scored), batch_size=_ROWS, scan_in_order=True).to_batches():
        here = slice(at, at + batch.num_rows)
        at += batch.num_rows
        rows, vectors = _parted(batch)
        for rule in scored:
            mask = asked[rule.name][here]
            if mask.any():
                scores = {name: values[here][mask] for name, values in columns.items()}
                evidence = Evidence(rows.filter(pa.array(mask)), vectors[mask], encode_texts, scores)
                made = find_scorer(rule.score, rule.name).score(rule, prepared.get(rule.name), evidence)
                for name, values in made.items():
                    columns[name][here][mask] = values
    return columns


def _parted(batch: pa.RecordBatch) -> tuple[pa.Table, np.ndarray]:
    rows = pa.Table.from_batches([batch])
    return rows.drop_columns(["vector"]), stored_vectors(batch.column("vector"))


def _read(dataset: lance.LanceDataset, scored: Sequence[Rule]) -> list[str]:
    """Derived rules may read any column, others the caption and the vector."""
    derived = any(_level(rule) == "derived" for rule in scored)
    return list(dataset.schema.names) if derived else ["caption", "vector"]


def _columns(rule: Rule) -> list[str]:
    return find_scorer(rule.score, rule.name).columns(rule)


def _level(rule: Rule) -> str:
    return find_scorer(rule.score, rule.name).level
