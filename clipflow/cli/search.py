"""`clipflow search`: rows nearest to a text or a picture."""

import argparse
from typing import Any

from clipflow.cli.parser import Answer, add_table, add_verb


def add(verbs: Any) -> None:
    """The verb."""
    search = add_verb(
        verbs, "search", "rows nearest to a text or a picture", _search, "Search a table by text or by picture."
    )
    add_table(search)
    search.add_argument("text", nargs="?", metavar="TEXT", help="what to look for")
    search.add_argument("--image", metavar="PATH", help="a picture to look like")
    search.add_argument("-k", type=int, default=10, metavar="N", help="how many rows (default 10)")
    search.add_argument("--where", metavar="SQL", help="a condition on the table's columns")
    search.add_argument("--all", action="store_true", help="rows of every status, not only accepted ones")
    search.add_argument("--version", dest="at", type=int, metavar="V", help="a version of the table (default: latest)")


def _search(call: argparse.Namespace) -> Answer:
    from clipflow.query.search import search

    found = search(
        call.table, call.text, image=call.image, k=call.k, where=call.where, everything=call.all, version=call.at
    )
    lines = (
        f"{hit['similarity']:6.3f}  {hit['status']:<8}  {hit['source_uri']}  {hit['caption'] or ''}" for hit in found
    )
    return found, "\n".join(lines) or "no rows"
