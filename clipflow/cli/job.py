"""The job file on the command line; and `run` and `plan`, which need nothing else."""

import argparse
import math
import sys
from typing import Any

from clipflow.cli.output import write
from clipflow.cli.parser import Answer, add_verb
from clipflow.errors import ClipflowError, UsageError
from clipflow.estimate.rates import UNITS

_AGAIN = ("retry", "redecode")
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
_PLAN = f"""List and subtract, say what is left and where the stages of a run would lie.

{_JOB}"""
_PLAN_END = """With --estimate it also says what the run will cost. Each figure follows from rates, and each rate says
where it comes from: the last runs of this encoder in the table, a probe of some images here (--probe), or you (--rate).

examples:
  clipflow plan job.yaml
  clipflow plan job.yaml --estimate                           by the rates of the table's last runs
  clipflow plan job.yaml --estimate --probe 64                by embedding 64 images here; nothing is kept
  clipflow plan job.yaml --estimate --cpus 64 --gpus 8 \\
      --rate images_per_second_per_gpu_encoder=2000 --rate prepared_per_second_per_cpu=100

rates: {rates}
"""
_RATES = "".join(f"\n  {name:34} {meaning}" for name, meaning in UNITS.items())
_RUN_END = """examples:
  clipflow run job.yaml
  clipflow run job.yaml --interval 2026-11-01 2026-11-02      one day, start inclusive, end exclusive, UTC
  clipflow run job.yaml --set table.commit_rows=1000 --set policy.rules.too_small.reject_below=32
  clipflow run job.yaml --ray none                            in this process, without Ray
  clipflow run job.yaml --reconcile                           what is gone leaves the results, whatever the window
  clipflow run job.yaml --retry truncated,unsupported_format  try such files again by hand

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
    _add_wish(run)

    _add_plan(verbs)


def _add_plan(verbs: Any) -> None:
    plan = add_verb(
        verbs, "plan", "what run would do and cost; writes nothing", _plan, _PLAN, _PLAN_END.format(rates=_RATES)
    )
    add_job(plan)
    plan.add_argument("--ray", metavar="none|local|ADDRESS", help="as for run; a cluster is asked what it has")
    _add_wish(plan)
    plan.add_argument("--cpus", type=float, metavar="N", help="plan for a machine or cluster of so many CPUs")
    plan.add_argument("--gpus", type=float, metavar="N", help="and so many GPUs (default with --cpus: none)")
    plan.add_argument("--estimate", action="store_true", help="predict hours, requests, bytes, table size and commits")
    plan.add_argument("--probe", type=int, metavar="N", help="with --estimate: measure rates here over N of the images")
    plan.add_argument(
        "--rate",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="with --estimate: a rate that outranks what is measured",
    )


def add_job(verb: argparse.ArgumentParser) -> None:
    """The job, its interval and changes to it."""
    verb.add_argument(
        "job",
        metavar="JOB",
        help="the job file: a path, an s3:// address, - for standard input, env:NAME for a variable that holds it",
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


def _add_wish(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--retry", metavar="CODE[,CODE…]", help="try images again that failed so, e.g. unsupported_format,too_large"
    )
    verb.add_argument(
        "--redecode", metavar="FORMAT[,…]", help="decode again what an older decoder decoded, e.g. bmp,tiff,gif"
    )
    verb.add_argument(
        "--reconcile",
        action="store_true",
        help="list the whole source, whatever its window, and withdraw rows whose object is gone",
    )
    verb.add_argument("--fail-on-empty", action="store_true", help="nothing listed is an error, exit code 1")


def _wish(call: argparse.Namespace) -> Any:
    from clipflow.wish import Wish

    words = {name: [word.strip() for word in (getattr(call, name) or "").split(",") if word.strip()] for name in _AGAIN}
    if call.reconcile and call.interval:
        raise UsageError("--reconcile lists the whole source, and --interval a part of it.", "Leave one of them out.")
    return Wish.of(**words, reconcile=call.reconcile, fail_on_empty=call.fail_on_empty)


def _read(call: argparse.Namespace) -> tuple[Any, Any]:
    from clipflow.interval import Interval
    from clipflow.jobfile import read_job

    return read_job(call.job, call.set), Interval.parse(*call.interval) if call.interval else None


def _run(call: argparse.Namespace) -> Answer:
    spec, interval = _read(call)
    from clipflow.pipeline import run
    from clipflow.report import describe_run

    try:
        report = run(spec, interval=interval, ray=call.ray, progress=call.progress, wish=_wish(call))
    except ClipflowError as error:
        # What it came to until then, with the codes, beside the sentence of why it ended.
        lines = describe_run(error.report) if error.report else ()
        write("".join(f"{line}\n" for line in lines), sys.stderr)
        raise
    return report.document(), report.text()


def _plan(call: argparse.Namespace) -> Answer:
    if not call.estimate and (call.rate or call.probe is not None):
        raise UsageError("--probe and --rate say how to estimate.", "Add --estimate.")
    if any(number is not None and not 0 <= number < math.inf for number in (call.cpus, call.gpus)) or call.cpus == 0:
        raise UsageError("--cpus and --gpus are how many there are.", "Give at least one CPU.")
    spec, interval = _read(call)
    where = {"interval": interval, "ray": call.ray, "cpus": call.cpus, "gpus": call.gpus, "wish": _wish(call)}
    if not call.estimate:
        from clipflow.pipeline import plan

        found = plan(spec, **where)
        return found.document(), found.text()
    from clipflow.estimate.estimate import estimate
    from clipflow.estimate.rates import given_rates

    if call.probe is not None and call.probe < 1:
        raise UsageError(f"A probe of {call.probe} images measures nothing.", "Give a positive number.")
    found, cost = estimate(spec, **where, probe=call.probe or 0, rates=given_rates(call.rate))
    return {**found.document(), "estimate": cost.document()}, f"{found.text()}\n{cost.text()}"
