"""What the verbs' command lines have in common."""

import argparse
import difflib
import re
from collections.abc import Callable
from typing import Any, NoReturn

from clipflow.cli.output import write
from clipflow.errors import UsageError

Answer = tuple[Any, str]
"""What a verb found: plain data for --json, and text for people."""

_FILES = (".yaml", ".yml", ".json", ".lance")


class Parser(argparse.ArgumentParser):
    """As argparse's; what is wrong ends in our kind of sentence."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        if (wrong := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)) is not None:
            near = difflib.get_close_matches(wrong[1], re.findall(r"[a-z]+", wrong[2]), n=1)
            hint = f"Did you mean {near[0]!r}?" if near else ""
            if wrong[1].lower().endswith(_FILES):
                hint = f"The verb comes first, as in `clipflow run {wrong[1]}`."
                hint = hint.replace("run", "search") if wrong[1].endswith(".lance") else hint
            raise UsageError(f"{wrong[1]!r} is no verb.", f"{hint} See `{self.prog} --help`.".strip())
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", f"See `{self.prog} --help`.")

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse drops what a stream refuses.
        write(message, file)


def add_verb(
    verbs: Any, name: str, help: str, act: Callable[[argparse.Namespace], Answer], about: str, end: str = ""
) -> Any:
    """A verb's own parser.

    Args:
        help: One line for `clipflow --help`.
        act: Does it.
        about: What `clipflow VERB --help` begins with, and `end` what it ends with.
    """
    verb = verbs.add_parser(
        name, help=help, description=about, epilog=end, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verb.add_argument("--json", action="store_true", help="print exactly one JSON document on stdout")
    verb.set_defaults(act=act)
    return verb


def add_table(verb: argparse.ArgumentParser) -> None:
    """The table that a verb is about."""
    verb.add_argument("table", metavar="TABLE", help="path or s3:// URI, ending in .lance")
