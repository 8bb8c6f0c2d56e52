"""The command line: one verb a command, one JSON document with --json, exit codes 0, 1 and 2."""

import argparse
import difflib
import logging
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from clipflow.documents import to_json
from clipflow.errors import ClipflowError, Interrupted, NotYet, StageError, UsageError
from clipflow.extras import engine_needed

Answer = tuple[Any, str]

LATER = {
    "judge": "re-decide from stored scores and vectors, without images",
    "audit": "removal rates per group and rule",
    "review": "a human's verdict, kept over later judgements",
    "forget": "delete images for good, with a receipt",
    "browse": "a local web page: gallery, search, verdicts",
    "explain": "why one image has its verdict",
    "migrate": "fill a new table with another encoder",
}

_JOB = """The job file is YAML; `encoder.model: demo` names the encoder that ships with clipflow:

  name: catalog
  source: {kind: objects, uri: s3://acme/uploads/, window: modified}
  encoder: {model: demo}
  policy:
    rules:
      - {name: too_small, score: min_side, reject_below: 64}
  table: {uri: s3://lake/catalog.lance}
"""
_RUN = f"""Bring a table up to date with its source: list, subtract what the table holds, then fetch, decode, embed,
score and judge the rest, and commit one row per image. Rejected and failed images keep their row, with reasons.

To resume after any kind of end, run it again: what the table holds is not done twice.

{_JOB}"""
_RUN_END = """examples:
  clipflow run job.yaml
  clipflow run job.yaml --interval 2026-11-01 2026-11-02      one day, start inclusive, end exclusive, UTC
  clipflow run job.yaml --set table.commit_rows=1000 --set policy.rules.too_small.reject_below=32
  clipflow run job.yaml --ray none                            in this process, without Ray

S3 is reached by the usual AWS_* variables, AWS_ENDPOINT_URL included. Secrets never stand in a job file.
exit codes: 0 done, 1 the job failed (the JSON says whether a retry can help), 2 the call or the job file is wrong
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("clipflow").setLevel(logging.INFO)
    signal.signal(signal.SIGTERM, _terminated)
    try:
        call = _parser().parse_args(arguments)
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
    call = _parser().parse_args(list(arguments))
    with engine_needed():
        document: dict[str, Any] = call.act(call)[0]
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


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if (wrong := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)) is not None:
            near = difflib.get_close_matches(wrong[1], re.findall(r"[a-z]+", wrong[2]), n=1)
            hint = f"Did you mean {near[0]!r}?" if near else ""
            raise UsageError(f"{wrong[1]!r} is no verb.", f"{hint} See `{self.prog} --help`.".strip())
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", f"See `{self.prog} --help`.")


def _parser() -> argparse.ArgumentParser:
    from clipflow.version import __version__

    parser = _Parser(
        prog="clipflow",
        description="Images in object storage become rows of a Lance table: one row each, every decision explained.",
        epilog="Start with `clipflow demo`. Every verb answers --help and --json.",
    )
    parser.add_argument("--version", action="version", version=f"clipflow {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)

    run = _verb(verbs, "run", "the main job: bring a table up to date", _run, _RUN, _RUN_END)
    _job_arguments(run)
    run.add_argument(
        "--ray", metavar="none|local|ADDRESS", help="in this process, on a Ray started here, or on a cluster"
    )
    run.add_argument("--progress", action=argparse.BooleanOptionalAction, help="draw a bar (default: on a terminal)")

    plan = _verb(
        verbs, "plan", "what run would do; writes nothing", _plan, f"List and subtract, and say what is left.\n\n{_JOB}"
    )
    _job_arguments(plan)

    search = _verb(
        verbs, "search", "rows nearest to a text or a picture", _search, "Search a table by text or by picture."
    )
    _table_argument(search)
    search.add_argument("text", nargs="?", metavar="TEXT", help="what to look for")
    search.add_argument("--image", metavar="PATH", help="a picture to look like")
    search.add_argument("-k", type=int, default=10, metavar="N", help="how many rows (default 10)")
    search.add_argument("--where", metavar="SQL", help="a condition on the table's columns")
    search.add_argument("--all", action="store_true", help="rows of every status, not only accepted ones")
    search.add_argument("--version", dest="at", type=int, metavar="V", help="a version of the table (default: latest)")

    sql = _verb(verbs, "sql", "one SELECT over `images` and `runs`", _sql, "Ask a table by SQL (DuckDB).")
    _table_argument(sql)
    sql.add_argument("statement", metavar="SQL", help='e.g. "select status, count(*) from images group by all"')

    maintain = _verb(
        verbs,
        "maintain",
        "index, compact, clean up, tag for readers",
        _maintain,
        "Bring indexes up to date, make few fragments of many, remove old versions and move a tag to the result.\n"
        "It changes no row and may run beside jobs. A second call at once finds nothing to do.",
    )
    _table_argument(maintain)
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

    doctor = _verb(
        verbs,
        "doctor",
        "check storage, encoder, policy, Ray and table",
        _doctor,
        "Try every part of a job without doing it.",
    )
    _job_arguments(doctor)
    doctor.add_argument("--ray", metavar="none|local|ADDRESS", help="the cluster to check (default: none)")

    demo = _verb(
        verbs,
        "demo",
        "the main job on a small drawn catalogue",
        _demo,
        "Draw a small catalogue, embed it with the encoder that ships with clipflow, and search it.",
    )
    demo.add_argument(
        "--folder", default="clipflow-demo", metavar="PATH", help="where it is made (default ./clipflow-demo)"
    )
    demo.add_argument("--ray", metavar="none|local|ADDRESS", help="as for run")

    for verb, meaning in LATER.items():
        # No argument of such a verb is wrong yet: without a prefix none is an option.
        later = verbs.add_parser(
            verb, help=f"{meaning} (comes with a later version)", add_help=False, prefix_chars="\0"
        )
        later.add_argument("rest", nargs="*")
        later.set_defaults(act=_later)
    return parser


def _verb(
    verbs: Any, name: str, help: str, act: Callable[[argparse.Namespace], Answer], about: str, end: str = ""
) -> Any:
    verb = verbs.add_parser(
        name, help=help, description=about, epilog=end, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verb.add_argument("--json", action="store_true", help="print exactly one JSON document on stdout")
    verb.set_defaults(act=act)
    return verb


def _job_arguments(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "job", metavar="JOB", help="the job file; - for standard input, env:NAME for a variable that holds it"
    )
    verb.add_argument(
        "--interval", nargs=2, metavar=("START", "END"), help="ISO 8601, half-open, UTC unless it says otherwise"
    )
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="key=value",
        help="change a key of the job, e.g. encoder.model=demo",
    )


def _table_argument(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("table", metavar="TABLE", help="path or s3:// URI, ending in .lance")


def _read(call: argparse.Namespace) -> tuple[Any, Any]:
    from clipflow.interval import Interval
    from clipflow.jobfile import read_job

    return read_job(call.job, call.set), Interval.parse(*call.interval) if call.interval else None


def _run(call: argparse.Namespace) -> Answer:
    spec, interval = _read(call)
    from clipflow.pipeline import run

    report = run(spec, interval=interval, ray=call.ray, progress=call.progress)
    return report.document(), report.text()


def _plan(call: argparse.Namespace) -> Answer:
    spec, interval = _read(call)
    from clipflow.pipeline import plan

    found = plan(spec, interval=interval)
    return found.document(), found.text()


def _search(call: argparse.Namespace) -> Answer:
    from clipflow.query.search import search

    found = search(
        call.table, call.text, image=call.image, k=call.k, where=call.where, everything=call.all, version=call.at
    )
    lines = (
        f"{hit['similarity']:6.3f}  {hit['status']:<8}  {hit['source_uri']}  {hit['caption'] or ''}" for hit in found
    )
    return found, "\n".join(lines) or "no rows"


def _sql(call: argparse.Namespace) -> Answer:
    from tabulate import tabulate

    from clipflow.query.sql import sql

    rows = sql(call.table, call.statement)
    return rows, tabulate(rows, headers="keys") if rows else "no rows"


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


def _doctor(call: argparse.Namespace) -> Answer:
    from clipflow.doctor import examine

    found = examine(call.job, call.set, call.interval, call.ray)
    return found.document(), found.text()


def _demo(call: argparse.Namespace) -> Answer:
    from clipflow.demo.show import show

    return show(call.folder, ray=call.ray)


def _later(call: argparse.Namespace) -> NoReturn:
    raise NotYet(f"`clipflow {call.verb}` ({LATER[call.verb]}) comes with a later version.", "See `clipflow --help`.")
