"""`clipflow search`: rows nearest to a text, a picture or another row."""

import argparse
from typing import Any

from clipflow.cli.parser import Answer, add_table, add_verb

_ABOUT = """The accepted rows of a table nearest to a text, to a picture, or to an image of the table, by cosine."""
_END = """examples:
  clipflow search lake/catalog.lance "a red shoe" -k 5
  clipflow search lake/catalog.lance --image s3://acme/uploads/1.jpg --columns locale uploader
  clipflow search lake/catalog.lance --like 3f2a9c01 --all --where "attr_locale = 'de'"
"""


def add(verbs: Any) -> None:
    """The verb."""
    search = add_verb(verbs, "search", "rows nearest to a text or a picture", _search, _ABOUT, _END)
    search.usage = "clipflow search TABLE (TEXT | --image FILE | --like IMAGE_ID) [options]"
    add_table(search)
    search.add_argument("text", nargs="?", metavar="TEXT", help="what to look for")
    search.add_argument("--image", metavar="FILE", help="a picture to look like: a path or an s3:// address")
    search.add_argument("--like", metavar="IMAGE_ID", help="an image of the table, by its id or its address")
    search.add_argument("-k", type=int, default=10, metavar="N", help="how many rows (default 10)")
    search.add_argument("--where", metavar="SQL", help="a condition on the table's columns")
    search.add_argument("--all", action="store_true", help="rows of every status, not only accepted ones")
    search.add_argument(
        "--columns", nargs="+", action="extend", default=[], metavar="COLUMN",
        help="show these, too: attributes, or columns of the table",
    )  # fmt: skip
    search.add_argument("--version", dest="at", type=int, metavar="V", help="a version of the table (default: latest)")


def _search(call: argparse.Namespace) -> Answer:
    from clipflow.query.search import search

    found = search(
        call.table,
        call.text,
        image=call.image,
        like=call.like,
        k=call.k,
        where=call.where,
        everything=call.all,
        version=call.at,
        columns=call.columns,
    )
    return found, "\n".join(_line(hit, call.columns) for hit in found) or "no rows"


def _line(hit: dict[str, Any], columns: list[str]) -> str:
    more = "".join(f"  {name}={'' if hit[name] is None else hit[name]}" for name in columns)
    return f"{hit['similarity']:6.3f}  {hit['status']:<8}  {hit['source_uri']}  {hit['caption'] or ''}{more}".rstrip()
