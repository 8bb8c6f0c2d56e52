"""Verbs of the contract that this version does not have."""

import argparse
from typing import Any, NoReturn

from clipflow.errors import NotYet

LATER = {
    "browse": "a local web page: gallery, search, verdicts",
}


def add(verbs: Any) -> None:
    """All of them, so that `clipflow --help` names them and each says what it is."""
    for verb, meaning in LATER.items():
        # No argument of such a verb is wrong yet: without a prefix none is an option.
        later = verbs.add_parser(
            verb, help=f"{meaning} (comes with a later version)", add_help=False, prefix_chars="\0"
        )
        later.add_argument("rest", nargs="*")
        later.set_defaults(act=_later)


def _later(call: argparse.Namespace) -> NoReturn:
    raise NotYet(f"`clipflow {call.verb}` ({LATER[call.verb]}) comes with a later version.", "See `clipflow --help`.")
