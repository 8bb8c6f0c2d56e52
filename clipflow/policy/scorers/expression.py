"""A score that follows from columns and from the scores of other rules, by an SQL expression."""

from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa

from clipflow.encoders.info import EncoderInfo
from clipflow.errors import PolicyError
from clipflow.policy.scorers.base import Evidence, Floats, Scorer
from clipflow.policy.sql_expression import check_types, columns_of, evaluate
from clipflow.schema import IDENTITY, IMAGE, PROVENANCE, RESULT
from clipflow.spec import ATTRIBUTE_NAME, PolicySpec, Rule

_COLUMNS = {column.name: column.type for column in IDENTITY + IMAGE}
_OF_THE_RUN = frozenset({"vector", *(column.name for column in RESULT + PROVENANCE)})
_ATTRIBUTE = "attr_"


class Expression(Scorer):
    """`score_<rule>`: the value of `sql`, a DuckDB expression over one row; a condition is 1 or 0.

    It may name the identity and image columns, attributes and scores of rules that are no expressions
    themselves: what follows from the image, and from nothing that a run or a human did (law 6).
    """

    parameters = frozenset({"sql"})
    level = "derived"

    def check(self, rule: Rule, policy: PolicySpec, info: EncoderInfo) -> None:
        """Parses the expression and binds it to the columns' types; raises PolicyError."""
        if not (rule.sql or "").strip():
            raise PolicyError(f"Rule {rule.name!r}: expression needs sql.", "Write sql: and a DuckDB expression.")
        scores = _score_columns(policy)
        try:
            names = self.reads(rule)
            for name in sorted(names):
                _check_column(name, scores)
            check_types(_sql(rule), {name: _type(name) for name in names})
        except PolicyError as error:
            raise PolicyError(f"Rule {rule.name!r}: {error.message}", error.mend) from error

    def reads(self, rule: Rule) -> frozenset[str]:
        """The columns that `sql` names."""
        return columns_of(_sql(rule))

    def score(self, rule: Rule, prepared: Any, evidence: Evidence) -> dict[str, Floats]:
        """float32 [N]; NaN where the expression has no value, or the row no vector."""
        columns = {}
        for name in sorted(self.reads(rule)):
            if name in evidence.scores:
                columns[name] = pa.array(evidence.scores[name], pa.float32(), from_pandas=True)
            elif name in evidence.rows.column_names:
                columns[name] = evidence.rows.column(name)
            elif name in _COLUMNS:  # Older tables lack some.
                columns[name] = pa.nulls(len(evidence.vectors), _COLUMNS[name])
            else:
                raise PolicyError(
                    f"Rule {rule.name!r}: the rows have no column {name}.", "Add it to source.attributes."
                )
        values = evaluate(_sql(rule), columns, len(evidence.vectors))
        with np.errstate(over="ignore"):
            scores = values.astype(np.float32)
        scores[~evidence.embedded] = np.nan
        return {f"score_{rule.name}": scores}


def _sql(rule: Rule) -> str:
    return rule.sql or ""


def _type(name: str) -> pa.DataType:
    return pa.float32() if name.startswith("score_") else _COLUMNS.get(name, pa.string())


def _score_columns(policy: PolicySpec) -> dict[str, Rule]:
    # The register of scorers holds this one.
    from clipflow.policy.scorers import find_scorer

    return {column: other for other in policy.rules for column in find_scorer(other.score, other.name).columns(other)}


def _check_column(name: str, scores: dict[str, Rule]) -> None:
    if name in scores and scores[name].score == "expression":
        raise PolicyError(
            f"sql names {name}, the score of rule {scores[name].name!r}, which is an expression too.",
            "Write out what that rule says: an expression builds on no other.",
        )
    attribute = name.startswith(_ATTRIBUTE) and ATTRIBUTE_NAME.fullmatch(name.removeprefix(_ATTRIBUTE))
    if name in _COLUMNS or name in scores or attribute:
        return
    if name in _OF_THE_RUN:
        raise PolicyError(
            f"sql names {name}, which does not follow from the image.",
            "Name columns of identity and image, attr_<name>, and scores of other rules.",
        )
    near = get_close_matches(name, [*_COLUMNS, *(known for known in scores if scores[known].score != "expression")], 1)
    raise PolicyError(
        f"sql names {name}, which is no column that it may read.",
        f"Did you mean {near[0]!r}?" if near else f"Columns are {', '.join(_COLUMNS)}, attr_<name> and scores.",
    )
