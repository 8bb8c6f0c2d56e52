"""What rows would come to under another policy, without the text encoder: stored scores, and those that follow."""

from typing import Any

import lance
import pyarrow as pa

from clipflow.audit.view import View
from clipflow.errors import PolicyError
from clipflow.judging import Judging
from clipflow.policy.check import match_columns, score_columns
from clipflow.policy.rescore import known_scores
from clipflow.policy.scorers import find_scorer
from clipflow.spec import PolicySpec, Rule
from clipflow.table.census import Census
from clipflow.table.images import scores_of
from clipflow.table.settling import names, nullable

_MEND = "`clipflow judge --policy FILE --dry-run` loads it, scores, and says what would move."


def foreseen(now: View, dataset: lance.LanceDataset, policy: PolicySpec) -> pa.Table:
    """Score and match columns of every row under a policy, beside its image_id.

    Duplicates are told anew, because who is an original hangs on all rules; other scores are taken where the table
    holds them, and computed from vectors and columns where it does not.

    Raises:
        PolicyError: The policy cannot be applied to the table, or a rule needs texts encoded.
    """
    judging = Judging.of(policy, dataset, texts=False)
    _check_texts(now, dataset, judging)
    found = judging.all_of(dataset)
    columns: dict[str, Any] = {"image_id": found.census.image_id}
    columns |= {name: nullable(found.settled.columns[name]) for name in score_columns(policy)}
    # A rule may point at more than one kind of row; each column is named by the rule that it belongs to.
    best = {f"match_{rule}": names(found.census, one.match) for rule, one in found.settled.best.items()}
    return pa.table(columns | {name: best[name] for name in match_columns(policy)})


def _check_texts(now: View, dataset: lance.LanceDataset, judging: Judging) -> None:
    rules = [rule for rule in judging.policy.rules if find_scorer(rule.score, rule.name).needs_text]
    if not rules:
        return
    known = known_scores(Census(dataset, judging.policy), judging.policy, judging.fingerprints, scores_of(now.about))
    for rule in rules:
        if waiting := int((~known[rule.name]).sum()):
            raise PolicyError(f"{_cause(now, judging, rule, waiting)}, and an audit loads no text encoder.", _MEND)


def _cause(now: View, judging: Judging, rule: Rule, waiting: int) -> str:
    """Why the scores of a rule are not at hand."""
    stored, wanted = scores_of(now.about).get(now.about["policy_id"], {}), judging.fingerprints[rule.name]
    if stored.get(rule.name) == wanted:
        return f"{waiting} rows wait for their score of rule {rule.name!r}: `clipflow judge` is not done"
    if same := sorted(name for name, fingerprint in stored.items() if fingerprint == wanted):
        return f"The table holds the scores of rule {rule.name!r} under another name, {same[0]!r}"
    there = {one.name: one for one in now.policy.rules}.get(rule.name)
    if there is None:
        return f"The table holds no scores of a rule {rule.name!r}"
    before, after = (one.model_dump(exclude_none=True, exclude={*one.bounds}) for one in (there, rule))
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    what = f"another {' and '.join(keys)}" if keys else "another text side of the encoder"
    return f"The scores of rule {rule.name!r} in the table follow from {what}"
