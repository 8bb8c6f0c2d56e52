"""The command line: one verb a command, one JSON document with --json, exit codes 0, 1 and 2."""

import json
import logging
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from clipflow.cli import (
    audit,
    convert_head,
    demo,
    doctor,
    evaluate,
    explain,
    forget,
    job,
    judge,
    later,
    maintain,
    migrate,
    review,
    search,
    sql,
)
from clipflow.cli.docstrings import keep_docstrings
from clipflow.cli.ending import ending
from clipflow.cli.later import LATER
from clipflow.cli.output import occupy_streams, one_line, write
from clipflow.cli.parser import Parser
from clipflow.cli.words import check_names, not_utf8
from clipflow.documents import to_json
from clipflow.errors import ClipflowError, Interrupted, StageError
from clipflow.extras import engine_needed
from clipflow.refusals import in_our_words, refusals

__all__ = ["LATER", "answer", "command_line", "main"]

# In the order of `clipflow --help`.
_VERBS = (
    job,
    search,
    sql,
    judge,
    review,
    explain,
    audit,
    evaluate,
    forget,
    maintain,
    migrate,
    doctor,
    convert_head,
    demo,
    later,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    if argv is None:
        keep_docstrings()
    occupy_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("clipflow").setLevel(logging.INFO)
    # A stream that takes nothing more is no news for that very stream.
    logging.raiseExceptions = False
    try:
        with ending() as asked:
            code, text, sentence = _said(arguments, asked)
    except KeyboardInterrupt:
        code, text, sentence = _failed(_interrupted(), "--json" in arguments)
    try:
        if text is not None:
            write(f"{text}\n", sys.stdout)
    except ClipflowError as error:
        code, sentence = code or error.exit_code, sentence or str(error)
    with suppress(ClipflowError):
        write(f"clipflow: {one_line(sentence)}\n" if sentence else "", sys.stderr)
    return code


def _said(arguments: list[str], asked: Callable[[], bool]) -> tuple[int, str | None, str]:
    """Exit code, what goes to stdout, and the sentence for stderr."""
    as_json = "--json" in arguments
    try:
        call = command_line().parse_args(arguments)
        as_json = getattr(call, "json", as_json)
        check_names()
        with engine_needed():
            document, text = call.act(call)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        # What panics in Rust is no Exception; and a library that was interrupted says so in words of its own.
        if (ours := _interrupted() if asked() else in_our_words(error) or not_utf8(arguments, error)) is not None:
            ours.report = ours.report or getattr(error, "report", None)
            return _failed(ours, as_json)
        logging.getLogger("clipflow").exception("clipflow: a defect; please report it with these lines")
        return _failed(StageError(f"{type(error).__name__}: {error}", "This is a defect; report it."), as_json)
    code: int = document.get("exit_code", 0) if isinstance(document, dict) else 0
    return code, to_json(document) if as_json else text, ""


def answer(arguments: Sequence[str]) -> dict[str, Any]:
    """The document of one verb, for callers in Python; the command line as `main` takes it.

    Raises:
        ClipflowError: The call is wrong, or the verb failed.
    """
    call = command_line().parse_args(list(arguments))
    with engine_needed(), refusals():
        # As --json would print it: no times, no numbers that JSON does not know.
        document: dict[str, Any] = json.loads(to_json(call.act(call)[0]))
    return document


def _interrupted() -> Interrupted:
    return Interrupted("Interrupted; what was committed stays.", "Run it again for the rest.")


def _failed(error: ClipflowError, as_json: bool) -> tuple[int, str | None, str]:
    document = to_json({**(error.report or {}), "error": error.document()}) if as_json else None
    return error.exit_code, document, str(error)


def command_line() -> Parser:
    """Every verb and its arguments; raises UsageError where argparse would exit."""
    from clipflow.version import __version__

    parser = Parser(
        prog="clipflow",
        description="Images in object storage become rows of a Lance table: one row each, every decision explained.",
        epilog="Start with `clipflow demo`. Every verb answers --help and --json.",
    )
    parser.add_argument("--version", action="version", version=f"clipflow {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)
    for part in _VERBS:
        part.add(verbs)
    return parser
