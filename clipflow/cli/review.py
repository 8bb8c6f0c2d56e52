"""`clipflow review`: the queue, and a human's verdict."""

import argparse
from typing import TYPE_CHECKING, Any

from clipflow.cli.parser import Answer, add_table, add_verb
from clipflow.errors import UsageError
from clipflow.small_file import read_small, read_standard_input

if TYPE_CHECKING:
    from clipflow.table.review import Verdict

_ABOUT = """Look at the queue (rows with status review), or give images a human's verdict. It outranks the rules, is
kept over later judgements and over new embeddings of the same bytes, and holds until it is withdrawn.

ID is an image_id, at least 8 of its first digits when they are unique, or a source URI.
"""
_END = """examples:
  clipflow review lake/catalog.lance --list
  clipflow review lake/catalog.lance --accept 3f2a9c01 --by ann --why "it is a product photo"
  clipflow review lake/catalog.lance --reject --from ids.txt --by ann --why "screenshots"
  clipflow review lake/catalog.lance --withdraw s3://acme/uploads/1.jpg --by ann --why "wrong picture"

Named images change together or not at all. The same review again changes nothing.
"""


def add(verbs: Any) -> None:
    """The verb."""
    review = add_verb(verbs, "review", "the queue, and a human's verdict", _review, _ABOUT, _END)
    # As argparse would write it, TABLE stands last, where a list of IDs takes it for one more.
    review.usage = (
        "clipflow review TABLE --list [--where SQL] [-k N] [--json]\n"
        "       clipflow review TABLE (--accept | --reject | --withdraw) [ID ...] [--from FILE]\n"
        "                       --by WHO --why TEXT [--json]"
    )
    add_table(review)
    what = review.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="show the queue, oldest first")
    what.add_argument("--accept", nargs="*", metavar="ID", help="these images are accepted")
    what.add_argument("--reject", nargs="*", metavar="ID", help="these images are rejected")
    what.add_argument("--withdraw", nargs="*", metavar="ID", help="the rules decide again")
    review.add_argument("--from", dest="file", metavar="FILE", help="more IDs, one a line; - for standard input")
    review.add_argument("--by", metavar="WHO", help="who reviews; needed for a verdict and its withdrawal")
    review.add_argument("--why", metavar="TEXT", help="the reason; needed for a verdict and its withdrawal")
    review.add_argument("--where", metavar="SQL", help="with --list: a condition on the table's columns")
    review.add_argument("-k", type=int, metavar="N", help="with --list: how many rows (default 20)")


def _review(call: argparse.Namespace) -> Answer:
    if call.list:
        return _list(call)
    from clipflow.table.review import Review, review

    _refuse(call, "--list", where="--where", k="-k")
    verdict, images = _asked(call)
    given = Review(verdict, call.by or "", call.why or "")
    report = review(call.table, [*images, *_lines(call.file)], given)
    return report.document(), report.text()


def _list(call: argparse.Namespace) -> Answer:
    from clipflow.table.queue import LISTED, read_queue

    _refuse(call, "--accept, --reject or --withdraw", by="--by", why="--why", file="--from")
    queue = read_queue(call.table, where=call.where, k=LISTED if call.k is None else call.k)
    return queue.document(), queue.text()


def _asked(call: argparse.Namespace) -> "tuple[Verdict | None, list[str]]":
    if call.withdraw is not None:
        return None, call.withdraw
    return ("accepted", call.accept) if call.accept is not None else ("rejected", call.reject)


def _refuse(call: argparse.Namespace, partner: str, **options: str) -> None:
    for name, option in options.items():
        if getattr(call, name) is not None:
            raise UsageError(f"{option} goes with {partner}.", "Leave it out.")


def _lines(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        text = (read_standard_input() if path == "-" else read_small(path)).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"The file {path} cannot be read ({why}).", "Give a text file with one ID a line.") from None
    return [name for line in text.splitlines() if (name := line.strip())]
