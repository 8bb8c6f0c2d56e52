"""Clusters of duplicates, from the rows that each duplicate points at."""

from typing import Any

from clipflow.audit.view import Rows, View
from clipflow.spec import Rule

LARGEST = 10
_HOPS = 64


def duplicates(view: View) -> Rows:
    """What the document calls `duplicates`: by rule with a `match_<rule>` column its clusters.

    A link is a row on which the rule fires and that points at another. A cluster is what links connect; its size
    counts the original too.
    """
    return [_clusters(view, rule) for rule in sorted(view.matches, key=lambda rule: rule.name)]


def _clusters(view: View, rule: Rule) -> dict[str, Any]:
    fired = f"reject_{rule.name} OR review_{rule.name}"
    view.db.execute(
        f"CREATE OR REPLACE TEMP TABLE links AS SELECT image_id, match_{rule.name} AS root FROM {view.name} "
        f"WHERE status <> 'failed' AND match_{rule.name} IS NOT NULL AND ({fired})"
    )
    # A row points at an earlier one, so chains end; each round halves their length.
    for _ in range(_HOPS):
        (row,) = view.db.execute("SELECT count(*) FROM links a JOIN links b ON b.image_id = a.root").fetchall()
        if not row[0]:
            break
        view.db.execute(
            "CREATE OR REPLACE TEMP TABLE links AS SELECT a.image_id, coalesce(b.root, a.root) AS root "
            "FROM links a LEFT JOIN links b ON b.image_id = a.root"
        )
    sizes = "SELECT root, count(*) + 1 AS size FROM links GROUP BY root"
    total = view.one(f"SELECT count(*) AS clusters, coalesce(sum(size - 1), 0)::BIGINT AS pointing FROM ({sizes})")
    largest = view.ask(f"SELECT size FROM ({sizes}) ORDER BY size DESC LIMIT {LARGEST}")
    return {"rule": rule.name, **total, "largest": [row["size"] for row in largest]}
