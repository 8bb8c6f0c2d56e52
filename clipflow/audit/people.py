"""What people said against the policy, and what waits for them."""

from typing import Any

from clipflow.audit.view import View
from clipflow.audit.wilson import share


def people(view: View) -> dict[str, Any]:
    """What the document calls `people`.

    `false_rejects` are reviewed rows that a rule rejects and a person accepted, `false_accepts` those that no rule
    rejects and a person rejected; each a share of the reviewed rows on that side.
    """
    row = view.one(
        """
        SELECT count(*) FILTER (WHERE status = 'review') AS queue,
            count(reviewed_verdict) AS reviewed,
            count(*) FILTER (WHERE reviewed_verdict = 'accepted') AS accepted,
            count(*) FILTER (WHERE reviewed_verdict = 'rejected') AS rejected,
            count(reviewed_verdict) FILTER (WHERE ruled = 'rejected') AS over_rejected,
            count(*) FILTER (WHERE ruled = 'rejected' AND reviewed_verdict = 'accepted') AS false_rejects,
            count(*) FILTER (WHERE ruled <> 'rejected' AND reviewed_verdict = 'rejected') AS false_accepts
        FROM {view} WHERE status <> 'failed'
        """
    )
    passed = row["reviewed"] - row["over_rejected"]
    counts = {key: row[key] for key in ("queue", "reviewed", "accepted", "rejected")}
    return {
        **counts,
        "false_rejects": share(row["false_rejects"], row["over_rejected"]),
        "false_accepts": share(row["false_accepts"], passed),
    }
