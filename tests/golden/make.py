"""Writes the golden table: `python -m tests.golden.make FOLDER`. See README.md before you do.

It works on a real S3 server, so that no address in the table names a folder of the machine that made it.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

import lance

import clipflow
import tests.conftest  # noqa: F401 - puts the stub encoder where plugins are looked for
from clipflow.forget.forget import forget
from clipflow.rejudge import rejudge
from clipflow.spec import JobSpec, PolicySpec
from clipflow.storage import Storage
from clipflow.table.maintain import maintain
from clipflow.uri import image_id
from tests.golden.images import BUCKET, FORGOTTEN, LIST, TABLE, first, later, manifest
from tests.golden.reading import HERE, PARTS, dumped, read
from tests.s3 import S3Server


def key(name: str) -> str:
    """The image_id of an object of the bucket."""
    return image_id(f"s3://{BUCKET}/uploads/{name}")


def write(server: S3Server) -> None:
    """Everything that a table goes through, in an order that leaves several versions and a tag on an older one."""
    last = JobSpec.model_validate_json((HERE / "job.json").read_text("utf-8"))
    lenient = last.policy.model_dump(mode="json", exclude_none=True)
    near = next(rule for rule in lenient["rules"] if rule["name"] == "near")
    near["review_above"] = near.pop("reject_above")
    spec = last.model_copy(update={"policy": PolicySpec.model_validate(lenient)})

    before = first()
    for name, data in before.items():
        server.put(name, data, BUCKET)
    server.put(LIST, manifest(list(before)), BUCKET)
    clipflow.run(spec, ray="none", progress=False)
    table = clipflow.open(TABLE)
    table.review([key("08.bmp")], "accepted", by="ann", why="a product photo")
    table.review([key("05.bmp"), key("12.bmp")], "rejected", by="Zoë", why="a screenshot")
    assert forget(TABLE, uris=[f"s3://{BUCKET}/{FORGOTTEN}"]).verified
    maintain(TABLE)

    assert rejudge(TABLE, last.policy).changed
    after = later()
    for name, data in after.items():
        server.put(name, data, BUCKET)
    server.put(LIST, manifest(list(before | after)), BUCKET)
    clipflow.run(last, ray="none", progress=False)
    table.review([key("21.bmp")], "rejected", by="bob", why="blurred")
    shorten_runs()


def shorten_runs() -> None:
    """What `maintain` would do to the runs table an hour later: its small files are most of a small catalogue."""
    runs = lance.dataset(TABLE.replace(".lance", "_runs.lance"), storage_options=Storage().lance_options(TABLE))
    runs.optimize.compact_files()
    runs.cleanup_old_versions(older_than=timedelta(0))


def download(server: S3Server, folder: Path) -> None:
    """The objects of the three tables as files."""
    pages = server.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="lake/")
    for found in (one["Key"] for page in pages for one in page.get("Contents", ())):
        path = folder / found.removeprefix("lake/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(server.client.get_object(Bucket=BUCKET, Key=found)["Body"].read())


def main(folder: Path) -> None:
    """Make `folder`, which must not be there: what is golden is never written over."""
    folder.mkdir(parents=True)
    with S3Server() as server:
        os.environ.update(server.env())
        server.make_bucket(BUCKET)
        write(server)
        download(server, folder)
    (folder.parent / "expected.json").write_text(dumped({name: read(folder / name) for name in PARTS}), "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
