"""`clipflow explain`: why one image has its verdict."""

import argparse
from typing import Any

from clipflow.cli.parser import Answer, add_table, add_verb
from clipflow.files import write_file

_ABOUT = """Everything that the table holds about one image: its verdict and every number behind it, what would change
it, where the image came from, which run and encoder made its vector, and what became of it, version by version.

IMAGE_ID is an image_id, at least 8 of its first digits when they are unique, or a source URI.
"""


def add(verbs: Any) -> None:
    """The verb."""
    explain = add_verb(verbs, "explain", "why one image has its verdict", _explain, _ABOUT)
    add_table(explain)
    explain.add_argument("image", metavar="IMAGE_ID", help="the image")
    explain.add_argument("--html", metavar="FILE", help="write the page as one HTML file; a path or an s3:// address")


def _explain(call: argparse.Namespace) -> Answer:
    from clipflow.explain import explain

    found = explain(call.table, call.image)
    if call.html is None:
        return found.document(), found.text()
    write_file(call.html, found.html().encode(), "page")
    return {**found.document(), "html": call.html}, f"written to {call.html}"
