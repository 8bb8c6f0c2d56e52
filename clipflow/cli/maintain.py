"""`clipflow maintain`: index, compact, clean up, tag for readers."""

import argparse
from typing import Any

from clipflow.cli.parser import Answer, add_table, add_verb


def add(verbs: Any) -> None:
    """The verb."""
    maintain = add_verb(
        verbs,
        "maintain",
        "index, compact, clean up, tag for readers",
        _maintain,
        "Bring indexes up to date, make few fragments of many, remove old versions and move a tag to the result.\n"
        "It changes no row and may run beside jobs. A second call at once finds nothing to do.",
    )
    add_table(maintain)
    maintain.add_argument(
        "--keep-days",
        type=int,
        default=7,
        metavar="N",
        help="remove versions older than N days, and than an hour (default 7)",
    )
    maintain.add_argument("--tag", default="published", metavar="NAME", help="the tag to move (default published)")
    maintain.add_argument("--no-index", action="store_true", help="leave indexes as they are")
    maintain.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")


def _maintain(call: argparse.Namespace) -> Answer:
    from clipflow.table.indexes import WANTED
    from clipflow.table.maintain import maintain

    report = maintain(
        call.table,
        keep_days=call.keep_days,
        tag=call.tag,
        indexes=None if call.no_index else WANTED,
        dry_run=call.dry_run,
    )
    return report.document(), report.text()
