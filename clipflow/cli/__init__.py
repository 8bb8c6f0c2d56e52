"""The command line: one verb a command, one JSON document with --json, exit codes 0, 1 and 2."""

import json
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

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
from clipflow.cli.later import LATER
from clipflow.cli.parser import Parser
from clipflow.documents import to_json
from clipflow.errors import ClipflowError, Interrupted, StageError
from clipflow.extras import engine_needed

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
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("clipflow").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        call = command_line().parse_args(arguments)
        as_json = getattr(call, "json", as_json)
        with engine_needed():
            document, text = call.act(call)
    except ClipflowError as error:
        return _fail(error, as_json)
    except KeyboardInterrupt:
        return _fail(Interrupted("Interrupted; what was committed stays.", "Run it again for the rest."), as_json)
    except BrokenPipeError:
        return 1
    except Exception as error:
        logging.getLogger("clipflow").exception("clipflow: a defect; please report it with these lines")
        return _fail(StageError(f"{type(error).__name__}: {error}", "This is a defect; report it."), as_json)
    _print(to_json(document) if as_json else text)
    code: int = document.get("exit_code", 0) if isinstance(document, dict) else 0
    return code


def answer(arguments: Sequence[str]) -> dict[str, Any]:
    """The document of one verb, for callers in Python; the command line as `main` takes it.

    Raises:
        ClipflowError: The call is wrong, or the verb failed.
    """
    call = command_line().parse_args(list(arguments))
    with engine_needed():
        # As --json would print it: no times, no numbers that JSON does not know.
        document: dict[str, Any] = json.loads(to_json(call.act(call)[0]))
    return document


def _terminated(number: int, frame: object) -> NoReturn:
    # Leaving by an exception lets the operation close its row and Ray end its workers.
    raise KeyboardInterrupt


def _fail(error: ClipflowError, as_json: bool) -> int:
    if as_json:
        _print(to_json({**(error.report or {}), "error": error.document()}))
    print(f"clipflow: {error}", file=sys.stderr)
    return error.exit_code


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The reader went away: a second attempt at exit would only add a traceback.
        sys.stderr.close()


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
