"""A policy as DuckDB expressions: the same verdicts as `policy.judge.judge`, over columns that are stored.

A test holds the two together. Here they are SQL so that a table of any size streams through, and so that
an outsider can count the same rows again.
"""

import struct

from clipflow.schema import SOURCE_DELETED
from clipflow.spec import PolicySpec, Rule


def float32(value: float) -> str:
    """A literal of exactly the float32 nearest to `value`; a bound is compared as that."""
    (rounded,) = struct.unpack("f", struct.pack("f", value))
    return f"CAST({rounded:.17e} AS FLOAT)"


def fires(rule: Rule, kind: str, score: str) -> str:
    """Whether `score` is strictly beyond a bound of the kind `reject` or `review`; never null.

    Args:
        score: A column in which null stands for no score, and NaN does not stand.
    """
    signs = (("<", rule.bounds.get(f"{kind}_below")), (">", rule.bounds.get(f"{kind}_above")))
    beyond = [f"{score} {sign} {float32(bound)}" for sign, bound in signs if bound is not None]
    return f"coalesce({' OR '.join(beyond)}, false)" if beyond else "false"


def ruled(policy: PolicySpec, own: dict[str, tuple[str, str]] | None = None) -> str:
    """The status that the rules alone give a row of a view of `audit.view`.

    Args:
        own: By rule name, expressions to use in place of `reject_<rule>` and `review_<rule>`.
    """
    own = own or {}
    pairs = [own.get(rule.name, (f"reject_{rule.name}", f"review_{rule.name}")) for rule in policy.rules]
    rejects, reviews = (" OR ".join(pair[kind] for pair in pairs) or "false" for kind in (0, 1))
    return (
        f"CASE WHEN status = 'failed' THEN 'failed' WHEN {rejects} THEN 'rejected' "
        f"WHEN {reviews} THEN 'review' ELSE 'accepted' END"
    )


def judged(ruling: str) -> str:
    """The whole verdict: a failure, then what stands beside the rules, then a human's word, then the rules'."""
    return (
        "CASE WHEN status = 'failed' THEN 'failed' "
        f"WHEN coalesce(list_contains(reasons, '{SOURCE_DELETED}'), false) THEN 'rejected' "
        f"WHEN reviewed_verdict IS NOT NULL THEN reviewed_verdict ELSE {ruling} END"
    )
