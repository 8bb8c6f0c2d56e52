"""`clipflow demo`: draw a catalogue, embed it, search it. Without Airflow, and without a network."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from clipflow.demo.catalogue import make_catalogue
from clipflow.demo.folder import QUERY, VERDICTS, DemoFolder
from clipflow.jobfile import read_job
from clipflow.pipeline import run
from clipflow.query.search import search
from clipflow.query.sql import sql
from clipflow.report import describe_run


def show(folder: str, ray: str | None = None) -> tuple[dict[str, Any], str]:
    """Run the main job on a small drawn catalogue.

    Args:
        folder: A new or empty folder, or one that an earlier demo made.
        ray: As for `run`.

    Returns:
        The run's JSON document, and what a person would rather read.

    Raises:
        UsageError: The folder holds things that no demo made.
    """
    home = DemoFolder(Path(folder))
    home.prepare()
    catalogue = make_catalogue(home.uploads)
    home.write_job()
    report = run(read_job(home.job), ray=ray).document()
    again = run(read_job(home.job), ray="none").document()
    lines = [f"Drew {catalogue.files} pictures, some of them broken, under {home.uploads}", ""]
    lines += describe_run(report)
    lines += ["", f"The same run again: {again['unchanged']} unchanged, still version {again['version']}", ""]
    lines += _shown(home)
    lines += ["", "Next, with your own images:", f"  edit {home.job}, then clipflow plan, clipflow run"]
    lines += ["  encoder.model: openai/clip-vit-base-patch32 or google/siglip2-base-patch16-224 (from the hub)"]
    return report, "\n".join(lines)


def _shown(home: DemoFolder) -> Iterator[str]:
    yield f'clipflow search {home.table} "{QUERY}"'
    for hit in search(str(home.table), QUERY, k=5):
        yield f"  {hit['similarity']:.3f}  {hit['source_uri']}"
    yield ""
    yield f'clipflow sql {home.table} "{VERDICTS}"'
    for row in sorted(sql(str(home.table), VERDICTS), key=lambda row: -int(row["images"])):
        yield f"  {row['status']:<9} {row['images']:>4}  {row['reasons'] or '-'}"
