"""`clipflow migrate`: fill a new table with another encoder."""

import argparse
from typing import Any

from clipflow.cli.parser import Answer, add_table, add_verb
from clipflow.errors import UsageError

_ABOUT = """Fill a new table with another encoder, from the sources of TABLE's rows. Captions, attributes, tombstones,
and reviews of the same bytes go over. Then one commit points readers of TABLE (search, sql, review, explain,
clipflow.open) to the new table; until then they see the old one. TABLE itself stays as it is.

It goes a calendar month of source_modified at a time. To resume after any kind of end, run it again: what the new table
holds is not done twice.

Scores of two encoders are never compared. When TABLE's policy has rules on vectors or texts, give the whole policy with
new thresholds; rules on pixel measures, exact and perceptual duplicates carry over by themselves.
"""
_END = """examples:
  clipflow migrate lake/catalog.lance --encoder google/siglip-base-patch16-224 --policy siglip.yaml
  clipflow migrate lake/catalog.lance --encoder ./my-clip --table lake/catalog2.lance --limit 100000
  clipflow migrate lake/catalog.lance --encoder ./my-clip --set limits.max_failed_share=0.1 --set compute.batch_size=64
"""


def add(verbs: Any) -> None:
    """The verb."""
    migrate = add_verb(verbs, "migrate", "fill a new table with another encoder", _migrate, _ABOUT, _END)
    add_table(migrate)
    migrate.add_argument("--encoder", metavar="MODEL", required=True, help="the new encoder: a hub id, a folder, demo")
    migrate.add_argument(
        "--table", dest="to", metavar="NEW", help="the new table (default: beside the old one, named by the encoder)"
    )
    migrate.add_argument("--policy", metavar="FILE", help="the new table's policy: YAML, - or env:NAME as for judge")
    migrate.add_argument("--limit", type=int, metavar="N", help="do at most N images now; the next call goes on")
    migrate.add_argument(
        "--set", action="append", default=[], metavar="key=value", help="change a key of encoder, limits or compute"
    )
    migrate.add_argument("--ray", metavar="none|local|ADDRESS", help="as for run")
    migrate.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, help="draw a bar (default: on a terminal)"
    )


def _migrate(call: argparse.Namespace) -> Answer:
    if call.limit is not None and call.limit < 1:
        raise UsageError(f"--limit is {call.limit}; it must be 1 or more.", "Leave it out to do all.")
    from clipflow.migrate.migrate import migrate

    report = migrate(
        call.table,
        call.encoder,
        to=call.to,
        policy=call.policy,
        sets=call.set,
        limit=call.limit,
        ray=call.ray,
        progress=call.progress,
    )
    return report.document(), report.text()
