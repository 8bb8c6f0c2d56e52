"""The judge: scores and bounds in, status and reasons out. Run and re-judge use these functions, and no others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from clipflow.encoders.info import EncoderInfo
from clipflow.policy.scorers import find_scorer
from clipflow.policy.scorers.base import Evidence, Floats, TextEncoder, nothing
from clipflow.spec import PolicySpec, Rule

_ORDER = {"row": 0, "table": 1, "derived": 2}

Bools = npt.NDArray[np.bool_]
# Plain strings, or a column of them.
Strings: TypeAlias = Sequence[str | None] | Any
Prepared = Mapping[str, Any]
"""By rule name, what its scorer made ready for a run."""


def prepare(policy: PolicySpec, info: EncoderInfo, encode_texts: TextEncoder) -> dict[str, Any]:
    """Make every rule ready: labels are encoded and weights are read here, once a run."""
    return {rule.name: find_scorer(rule.score, rule.name).prepare(rule, info, encode_texts) for rule in policy.rules}


def score(
    policy: PolicySpec, prepared: Prepared, evidence: Evidence, known: Mapping[str, Floats] | None = None
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Score a batch of N rows.

    Args:
        prepared: See `prepare`.
        known: Columns that were scored before, such as duplicates, or that the table holds; taken as they are.

    Returns:
        The score of every rule by rule name, and every column to store by column name; float32 [N], NaN is null.
        A rule of the level `table` that is not known has no score yet.
    """
    columns: dict[str, Floats] = dict(known or {})
    by_rule: dict[str, Floats] = {}
    for rule in sorted(policy.rules, key=lambda rule: _ORDER[find_scorer(rule.score, rule.name).level]):
        scorer = find_scorer(rule.score, rule.name)
        own = scorer.columns(rule)
        if own and columns.keys() >= set(own):
            by_rule[rule.name] = columns[own[0]]
        elif scorer.level == "table":
            by_rule[rule.name] = nothing(evidence)
            columns |= {name: nothing(evidence) for name in own}
        else:
            found = scorer.score(rule, prepared.get(rule.name), replace(evidence, scores=columns))
            by_rule[rule.name] = next(iter(found.values()))
            columns |= {name: found[name] for name in own}
    return by_rule, columns


@dataclass(frozen=True)
class Verdicts:
    """What N rows come to.

    Attributes:
        status: accepted, review, rejected or failed.
        reasons: Names of the rules that fired, sorted; of a failed row its one code.
        rejects: By rule name bool [N], whether a reject bound fires.
    """

    status: pa.StringArray
    reasons: pa.ListArray
    rejects: Mapping[str, Bools]


def judge(
    policy: PolicySpec,
    scores: Mapping[str, Floats],
    failures: Strings,
    standing: Strings | None = None,
    reviews: Strings | None = None,
) -> Verdicts:
    """Verdicts of N rows: failed, else rejected where a reason stands, else what a human said, else by the rules.

    Of the rules the strongest decides: rejected before review before accepted.

    Args:
        scores: float32 [N] by rule name; NaN fires nothing.
        failures: The failure code of each row, None where there is a vector.
        standing: A reason beside the rules that rejects the row, `source_deleted`; None where there is none.
        reviews: A human's verdict; None where there is none.
    """
    code = _strings(failures)
    rows = len(code)
    fine = code.is_null().to_numpy(zero_copy_only=False)
    rejects = {rule.name: fires(rule, scores[rule.name], "reject") & fine for rule in policy.rules}
    reviewed = {rule.name: fires(rule, scores[rule.name], "review") & fine for rule in policy.rules}
    # One mask a reason, whatever kind of reason it is.
    masks = [(name, rejects[name] | reviewed[name]) for name in rejects]
    masks += [(name, mask) for name, mask in _by_value(code)]
    stands: list[tuple[str, Bools]] = []
    if standing is not None:
        stands = [(name, mask & fine) for name, mask in _by_value(_strings(standing))]
    masks = sorted(masks + stands, key=lambda one: one[0])
    rejected = np.any([*rejects.values(), *(mask for _, mask in stands), np.zeros(rows, bool)], axis=0)
    doubtful = np.any([*reviewed.values(), np.zeros(rows, bool)], axis=0)
    status = np.where(rejected, "rejected", np.where(doubtful, "review", "accepted")).astype(object)
    if reviews is not None:
        for verdict, mask in _by_value(_strings(reviews)):
            status[mask] = verdict
        # What is not there any more is not shown, whatever a human said of it; the verdict waits in its columns.
        for _, mask in stands:
            status[mask] = "rejected"
    status[~fine] = "failed"
    return Verdicts(pa.array(status, pa.string()), _lists(masks, rows), rejects)


def _strings(values: Strings) -> pa.StringArray:
    array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, pa.string())
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _by_value(values: pa.StringArray) -> Iterator[tuple[str, Bools]]:
    for value in values.unique().drop_null().to_pylist():
        yield value, pc.equal(values, value).fill_null(False).to_numpy(zero_copy_only=False)


def _lists(masks: Sequence[tuple[str, Bools]], rows: int) -> pa.ListArray:
    """For each row the names whose mask is true, in the order of the masks."""
    names = pa.array([name for name, _ in masks], pa.string())
    flags = np.array([mask for _, mask in masks], bool).reshape(len(masks), rows).T
    ends = np.concatenate([[0], np.cumsum(flags.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), names.take(pa.array(np.nonzero(flags)[1])))


def fires(rule: Rule, scores: Floats, kind: str) -> Bools:
    """Bool [N]: strictly beyond a bound of the kind `reject` or `review`, both sides float32."""
    below, above = rule.bounds.get(f"{kind}_below"), rule.bounds.get(f"{kind}_above")
    fired = np.zeros(len(scores), bool)
    if below is not None:
        fired |= scores < np.float32(below)
    if above is not None:
        fired |= scores > np.float32(above)
    return fired
