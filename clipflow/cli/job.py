"""The job file on the command line; and `run` and `plan`, which need nothing else."""

import argparse
from typing import Any

from clipflow.cli.parser import Answer, add_verb

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


def add(verbs: Any) -> None:
    """`run` and `plan`."""
    run = add_verb(verbs, "run", "the main job: bring a table up to date", _run, _RUN, _RUN_END)
    add_job(run)
    run.add_argument(
        "--ray", metavar="none|local|ADDRESS", help="in this process, on a Ray started here, or on a cluster"
    )
    run.add_argument("--progress", action=argparse.BooleanOptionalAction, help="draw a bar (default: on a terminal)")

    plan = add_verb(
        verbs, "plan", "what run would do; writes nothing", _plan, f"List and subtract, and say what is left.\n\n{_JOB}"
    )
    add_job(plan)


def add_job(verb: argparse.ArgumentParser) -> None:
    """The job, its interval and changes to it."""
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
