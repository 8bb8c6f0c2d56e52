"""Something to try: a drawn catalogue and its job, so that the DAG does real work before anybody writes a job file."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from clipflow.demo.folder import DemoFolder


@dataclass(frozen=True)
class Trial:
    """A job that can run, its table, and the first day of its uploads."""

    job: Path
    table: Path
    start: date


def trial(path: Path) -> Trial:
    """The trial in a folder, drawn when it is not there; an earlier one keeps its table."""
    folder = DemoFolder(path)
    if not folder.job.exists():
        from clipflow.demo.catalogue import make_catalogue

        folder.prepare()
        make_catalogue(folder.uploads)
        folder.write_job()
    first = min(upload.stat().st_mtime for upload in folder.uploads.iterdir())
    return Trial(folder.job, folder.table, datetime.fromtimestamp(first, UTC).date())
