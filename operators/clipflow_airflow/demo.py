"""The demo: a catalogue of four days, embedded day by day by Airflow on Ray, then searched and queried.

`python -m clipflow_airflow.demo`. Whatever it shows it has checked, and a surprise ends it with exit 1.
"""

import argparse
import csv
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipflow.demo.folder import QUERY, VERDICTS, DemoFolder
from clipflow.errors import ClipflowError, JobError
from clipflow.schema import COUNTS
from clipflow_airflow.sandbox import Sandbox

if TYPE_CHECKING:
    from clipflow.demo.catalogue import Catalogue

DAG = "clip_embed_daily"
WAYS = COUNTS[1:]
COLUMNS = ("listed", *WAYS[:4], "accepted", "review", "rejected", "version")

NEXT = """
For your own bucket and model, write a job file:

    name: catalog
    source: {{uri: "s3://my-bucket/uploads/"}}
    encoder: {{model: openai/clip-vit-base-patch32}}        # or google/siglip2-base-patch16-224
    table: {{uri: "s3://my-bucket/lake/catalog.lance"}}

    {clipflow} plan job.yaml     what would be done: no model, nothing written
    {clipflow} run job.yaml      do it; again, and only what is new is done
    {clipflow} search {table} "a blue star"

In Airflow: copy dags/, set CLIPFLOW_JOB_FILE, and CLIPFLOW_CONN_ID to a connection of the type Ray Jobs."""


class Surprise(JobError):
    """The demo did not show what it promised."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m clipflow_airflow.demo", description=__doc__)
    parser.add_argument(
        "--keep", type=Path, default=Path("demo-data"), metavar="DIR", help="where pictures and table go"
    )
    parser.add_argument(
        "--dags", type=Path, default=Path("dags"), metavar="DIR", help="the DAG files (default: ./dags)"
    )
    given = parser.parse_args(arguments)
    home = Path(tempfile.mkdtemp(prefix="clipflow-airflow-"))
    try:
        _show(DemoFolder(given.keep), Sandbox(home, given.dags))
    except ClipflowError as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return 0


def _show(folder: DemoFolder, sandbox: Sandbox) -> None:
    from clipflow.demo.catalogue import make_catalogue

    began = time.monotonic()
    folder.prepare()
    catalogue = make_catalogue(folder.uploads)
    folder.write_job()
    _say(f"Drew {catalogue.files} uploads of {len(catalogue.days)} days, some of them broken: {folder.uploads}")
    _show_days(folder, sandbox, catalogue)
    _show_search(folder, catalogue)
    _show_verdicts(folder, catalogue)
    _say(f"Done in {time.monotonic() - began:.0f} seconds. The table lies at {folder.table}")
    print(NEXT.format(table=_near(folder.table), clipflow=_near(Path(sys.executable).with_name("clipflow"))))


def _show_days(folder: DemoFolder, sandbox: Sandbox, catalogue: "Catalogue") -> None:
    """Every day once, the last one twice, on one Ray."""
    from clipflow.engine.cluster import cluster

    os.environ |= {
        "CLIPFLOW_JOB_FILE": str(folder.job),
        "CLIPFLOW_CONN_ID": "local",
        "CLIPFLOW_RAY": "local",
        "CLIPFLOW_START": catalogue.days[0].isoformat(),
    }
    sandbox.open()
    for task in sandbox.dag(DAG).tasks:
        vars(task)["progress"] = True
    _say(f"Airflow runs the DAG {DAG} for each day, on a Ray inside this process")
    with ExitStack() as stack:
        with _hushed():
            stack.enter_context(cluster("local"))
        reports = {}
        for day in catalogue.days:
            print(f"  {day}", flush=True)
            reports[day] = _embed(sandbox, day)
        _table(reports)
        _check(_sum(reports, "embedded", "reused", "failed") == catalogue.files, "not every upload became a row")

        _say(f"{day} once more")
        again = _embed(sandbox, day)
        _table({day: again})
    _check(again["version"] == reports[day]["version"], "running a day again changed the table")
    _check(again["unchanged"] == again["listed"] > 0, "running a day again did work again")
    print(
        f"  Nothing was left to do: {again['listed']} images unchanged, the table still at version {again['version']}."
    )


@contextmanager
def _hushed() -> Iterator[None]:
    """Ray's C++ announces on stderr that it was told to be quiet."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _show_search(folder: DemoFolder, catalogue: "Catalogue") -> None:
    from clipflow.query.search import search

    _say(f'clipflow search {_near(folder.table)} "{QUERY}"')
    drawn = _captions(catalogue.manifest)
    hits = search(str(folder.table), QUERY, k=5)
    for hit in hits:
        name = Path(hit["source_uri"]).name
        print(f"  {hit['similarity']:.3f}  {hit['status']:<9} {name:<18} drawn as: {drawn[name]}")
    _check(len(hits) == 5, "the search found less than five images")
    _check(_is(drawn[Path(hits[0]["source_uri"]).name], QUERY), f"the best hit is not {QUERY}")


def _show_verdicts(folder: DemoFolder, catalogue: "Catalogue") -> None:
    from clipflow.query.sql import sql

    _say(f'clipflow sql {_near(folder.table)} "{VERDICTS}"')
    verdicts = sorted(sql(str(folder.table), VERDICTS), key=lambda row: (-row["images"], row["reasons"]))
    for row in verdicts:
        print(f"  {row['status']:<9} {row['images']:>4}  {row['reasons'] or '-'}")
    _check(sum(row["images"] for row in verdicts) == catalogue.files, "the table lost or doubled a row")
    _check({"accepted", "review", "rejected", "failed"} == {row["status"] for row in verdicts}, "a verdict is missing")


def _embed(sandbox: Sandbox, day: date) -> dict[str, Any]:
    """One run of the DAG over one day's data interval; its report."""
    end = datetime.combine(day + timedelta(days=1), datetime.min.time(), tzinfo=UTC)
    outcome = sandbox.run(DAG, end)
    _check(outcome.tasks["embed_images"] == "success", f"the run of {day} ended as {outcome.tasks}")
    _check(outcome.tasks["audit_table"] in ("success", "skipped"), f"the gate of {day} ended as {outcome.tasks}")
    report: dict[str, Any] = outcome.results["embed_images"]
    _check(report["listed"] == sum(report[way] for way in WAYS), "the counts of a run do not add up")
    return report


def _table(reports: Mapping[date, Mapping[str, Any]]) -> None:
    print(f"  {'day':<10}" + "".join(f"{column:>11}" for column in COLUMNS) + f"{'seconds':>9}")
    for day, report in reports.items():
        counts = "".join(f"{report[column]:>11}" for column in COLUMNS)
        print(f"  {day:%Y-%m-%d}{counts}{report['seconds']['total']:>9.1f}")


def _sum(reports: Mapping[date, Mapping[str, Any]], *keys: str) -> int:
    return sum(report[key] for report in reports.values() for key in keys)


def _captions(manifest: Path) -> dict[str, str]:
    with manifest.open(encoding="utf-8", newline="") as lines:
        return {Path(row["uri"]).name: row["caption"] for row in csv.DictReader(lines)}


def _is(caption: str, query: str) -> bool:
    """Whether a caption, in whatever words, speaks of the same colour and shape."""
    return set(query.split()[1:]) <= set(caption.split())


def _near(path: Path) -> Path:
    """The path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _say(text: str) -> None:
    print(f"\n▸ {text}", flush=True)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Surprise(f"{otherwise[0].upper()}{otherwise[1:]}.", "Please report it, with what is printed above.")


if __name__ == "__main__":
    sys.exit(main())
