"""`clipflow evaluate`: a policy against labels that people gave."""

import argparse
from typing import Any

from clipflow.cli.audit import add_groups
from clipflow.cli.parser import Answer, add_table, add_verb

_ABOUT = """Compare the rules' verdicts with people's: false rejects and accepts, precision and recall by rule and
group, and the bounds that would keep a promise. It writes nothing."""
_END = """FILE is .csv, .parquet or .jsonl with a column `image_id` or `uri`, and a column `verdict`:
accepted, accept, 1 or true; rejected, reject, 0 or false.

examples:
  clipflow evaluate lake/catalog.lance --labels labels.csv
  clipflow evaluate lake/catalog.lance --labels labels.csv --by locale --max-false-reject 0.02
"""


def add(verbs: Any) -> None:
    """The verb."""
    verb = add_verb(verbs, "evaluate", "a policy against labels that people gave", _evaluate, _ABOUT, _END)
    verb.usage = "clipflow evaluate TABLE --labels FILE [--by COLUMN ...] [options]"
    add_table(verb)
    verb.add_argument("--labels", required=True, metavar="FILE", help="what people said")
    add_groups(verb)
    verb.add_argument(
        "--max-false-reject", type=float, metavar="SHARE", help="find bounds that lose no more of what people accepted"
    )


def _evaluate(call: argparse.Namespace) -> Answer:
    from clipflow.audit.evaluate import evaluate

    found = evaluate(
        call.table, call.labels, by=call.by, max_false_reject=call.max_false_reject, min_group=call.min_group
    )
    return found.document(), found.text()
