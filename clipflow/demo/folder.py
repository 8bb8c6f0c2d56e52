"""The folder of the demo: made by it, emptied by it, and never anybody else's."""

import re
import shutil
from pathlib import Path

from clipflow.errors import UsageError

_MARKER = ".clipflow-demo"
_UPLOAD = re.compile(r"upload-\d+\.\w+")

JOB = """\
# The demo's job. `clipflow run {job}` runs it without Airflow.
name: demo
source:
  kind: objects
  uri: {uploads}
  window: modified          # only objects modified within the run's interval
encoder:
  model: demo               # ships with clipflow; yours is a Hugging Face id or a folder
policy:
  purpose: show what a policy does
  rules:
    - {{name: too_small, score: min_side, reject_below: 32}}
    - {{name: blurry, score: blur, review_below: {blur}}}
    - {{name: narrow, score: aspect_ratio, review_above: 3}}
table:
  uri: {table}
"""
BLUR = 20
QUERY = "a red circle"
VERDICTS = "select status, array_to_string(reasons, ', ') as reasons, count(*) as images from images group by all"
"""What every demo asks of the table it made."""


class DemoFolder:
    """Where the demo keeps its pictures, its job file and its table.

    Args:
        path: A new or empty folder, or one that an earlier demo made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.uploads = self.path / "uploads"
        self.job = self.path / "job.yaml"
        self.table = self.path / "lake" / "catalog.lance"

    def prepare(self) -> None:
        """Make the folder, or empty it of what an earlier demo made; anything else in it stays.

        Raises:
            UsageError: The folder holds things that no demo made.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        marker = self.path / _MARKER
        if not marker.exists():
            if any(self.path.iterdir()):
                raise UsageError(f"{self.path} is not empty, and no demo made it.", "Name another folder.")
            marker.write_text("Made by the demo of clipflow, which empties this folder when it runs again.\n")
        for upload in self.uploads.glob("upload-*"):
            if _UPLOAD.fullmatch(upload.name):
                upload.unlink()
        if self.uploads.exists() and any(self.uploads.iterdir()):
            raise UsageError(f"{self.uploads} holds files that no demo made.", "Move them, or name another folder.")
        for table in self.table.parent.glob(f"{self.table.stem}*.lance"):
            shutil.rmtree(table)

    def write_job(self) -> None:
        """Write the job file."""
        text = JOB.format(job=self.job, uploads=f"{self.uploads}/", table=self.table, blur=BLUR)
        self.job.write_text(text, encoding="utf-8")
