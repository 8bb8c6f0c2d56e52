"""Draw a small catalogue and upload it; prints how many files there are, and how many of them cannot be decoded."""

import sys
import tempfile
from pathlib import Path

import s3fs

from clipflow.demo.catalogue import make_catalogue

with tempfile.TemporaryDirectory() as folder:
    catalogue = make_catalogue(Path(folder) / "images", days=2, per_day=12)
    s3fs.S3FileSystem().put(f"{catalogue.folder}/", sys.argv[1], recursive=True)
print(catalogue.files, len({catalogue.empty, catalogue.truncated, catalogue.not_an_image}))
