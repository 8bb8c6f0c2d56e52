"""`clipflow judge`: decide again from stored scores and vectors."""

import argparse
from typing import Any

from clipflow.cli.parser import Answer, add_table, add_verb

_ABOUT = """Give a table another policy. Every row gets the verdict that a run by it would have given: thresholds are
applied to stored scores, scores that are not stored are computed from stored columns and vectors. No image is read.

FILE is a job file, of which `policy:` is taken, or a policy file, which holds what stands under it:

  rules:
    - {name: too_small, score: min_side, reject_below: 64}
    - {name: duplicate, score: near_duplicate, reject_above: 0.97}

It may run beside jobs, be killed at any moment and be called again: it does what is left.
"""
_END = """examples:
  clipflow judge lake/catalog.lance --policy stricter.yaml --dry-run      how many rows would move from where to where
  clipflow judge lake/catalog.lance --policy stricter.yaml --dry-run --by locale --list moves.csv      whose, and which
  clipflow judge lake/catalog.lance --policy stricter.yaml
  clipflow judge lake/catalog.lance --policy job.yaml                     the policy that the job has now
"""


def add(verbs: Any) -> None:
    """The verb."""
    judge = add_verb(verbs, "judge", "re-decide by another policy, without images", _judge, _ABOUT, _END)
    judge.usage = "clipflow judge TABLE --policy FILE [--dry-run [--by COLUMN ...] [--list FILE]] [options]"
    add_table(judge)
    judge.add_argument(
        "--policy",
        metavar="FILE",
        required=True,
        help="a policy or a job, YAML or JSON: a path, an s3:// address, - for standard input, env:NAME for a variable",
    )
    judge.add_argument("--dry-run", action="store_true", help="say how many rows would move, and write nothing")
    judge.add_argument(
        "--by", nargs="+", action="extend", default=[], metavar="COLUMN",
        help="with --dry-run: count by attributes, or columns of the table",
    )  # fmt: skip
    judge.add_argument(
        "--list", dest="listed", metavar="FILE",
        help="with --dry-run: write the rows that would move, as .csv or .jsonl; a path or an s3:// address",
    )  # fmt: skip


def _judge(call: argparse.Namespace) -> Answer:
    from clipflow.jobfile import read_policy
    from clipflow.rejudge import rejudge

    report = rejudge(call.table, read_policy(call.policy), dry_run=call.dry_run, by=call.by, listed=call.listed)
    return report.document(), report.text()
