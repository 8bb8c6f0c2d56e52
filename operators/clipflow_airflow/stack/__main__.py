# ruff: noqa: T201  (a command line prints)
"""Airflow 3.3 with its database and a Ray on this machine, on loopback only.

`up` stays in the foreground until Ctrl-C; `down` ends a stack that runs elsewhere, or whose terminal was killed.
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from clipflow.errors import ClipflowError, Interrupted

if TYPE_CHECKING:
    from clipflow_airflow.stack.stack import Stack

_AGAIN = 3
_WINDOW = 600.0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence and exit 2, without the usage above it."""
        self.exit(2, f"{message[0].upper()}{message[1:]}. See `{self.prog} --help`.\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Bring a stack up, or end one; the exit code."""
    given = _parser().parse_args(arguments)
    try:
        return _up(given) if given.verb == "up" else _down(given)
    except ClipflowError as error:
        print(f"\n{error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m clipflow_airflow.stack", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=_Parser)
    up = verbs.add_parser("up", help="bring it up, and stay until Ctrl-C")
    down = verbs.add_parser("down", help="end a stack that runs elsewhere, or was killed")
    for verb in (up, down):
        verb.add_argument("--home", type=Path, default=Path("airflow-home"), metavar="DIR", help="default: %(default)s")
    up.add_argument("--dags", type=Path, default=Path("dags"), metavar="DIR", help="DAG files, default: %(default)s")
    up.add_argument("--port", type=_port, default=8080, help="of the web UI; the next free one if busy")
    up.add_argument(
        "--database",
        choices=("auto", "postgresql", "sqlite"),
        default="auto",
        help="auto: PostgreSQL where it is installed",
    )
    up.add_argument("--no-ray", dest="ray", action="store_false", help="no Ray: jobs run in Airflow's own worker")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port")
    return int(text)


def _up(given: argparse.Namespace) -> int:
    from clipflow_airflow.stack.stack import Stack

    began = time.monotonic()
    print("Airflow comes up; Ctrl-C ends it.", flush=True)
    stack = Stack(
        given.home,
        given.dags,
        port=given.port,
        database=given.database,
        ray=given.ray,
        say=lambda line: print(f"  {line}", flush=True),
    )
    code = 0
    with _signals():
        try:
            stack.up()
            print(_welcome(stack, time.monotonic() - began), flush=True)
            _watch(stack)
        except Interrupted:
            print("\nEnding Airflow …", flush=True)
        finally:
            # A second Ctrl-C must not leave half of it running.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            stack.down()
    print(f"Airflow is down. Its history stays in {given.home}.", flush=True)
    return code


def _down(given: argparse.Namespace) -> int:
    from clipflow_airflow.stack.ending import down
    from clipflow_airflow.stack.home import Home

    print("Airflow is down." if down(Home(given.home)) else f"No Airflow runs in {given.home}.")
    return 0


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    def interrupt(number: int, frame: Any) -> NoReturn:
        raise Interrupted(f"Ended by {signal.Signals(number).name}.")

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(stack: "Stack") -> NoReturn:
    """Start again what ends by itself, as a service manager would; a few times each."""
    from clipflow_airflow.stack.errors import ServiceFailed

    ends: dict[str, list[float]] = {}
    while True:
        time.sleep(1)
        for name, code in stack.ended().items():
            now = time.monotonic()
            ends[name] = [*(end for end in ends.get(name, []) if end > now - _WINDOW), now]
            if len(ends[name]) > _AGAIN:
                log = stack.home.logs / f"{name}.log"
                raise ServiceFailed(f"The service {name} ended {len(ends[name])} times in a row.", f"Look into {log}")
            print(f"  The service {name} ended with exit code {code}; it is started again", flush=True)
            stack.start(name)


def _welcome(stack: "Stack", seconds: float) -> str:
    lines = ["", f"Airflow is up after {seconds:.0f} seconds.", ""]
    lines += [f"  Airflow   {stack.url}   user {stack.user}, password {stack.password}"]
    if "ray" in stack.services:
        lines += [f"  Ray       {stack.ray_url}   its token: cat {_near(stack.home.secrets / 'ray-token')}"]
    lines += [f"  Logs      {_near(stack.home.logs)}"]
    if stack.trial is not None:
        clipflow = _near(Path(sys.executable).with_name("clipflow"))
        lines += [
            "",
            "A catalogue of drawn uploads is there to try it:",
            "  1. Log in, open Dags, and switch on clip_embed_daily: it embeds yesterday's uploads,",
            "     on Ray where there is one.",
            f"  2. On its page: Trigger, Backfill, from {stack.trial.start}: a run for each day before.",
            "     Again, with reprocess: nothing is embedded twice.",
            f'  3. {clipflow} search {_near(stack.trial.table)} "a red circle"',
            "For your own images: end this, and start it with CLIPFLOW_JOB_FILE=your-job.yaml",
        ]
    return "\n".join([*lines, "", "Ctrl-C ends it; the history stays."])


def _near(path: Path) -> Path:
    """The path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


if __name__ == "__main__":
    sys.exit(main())
