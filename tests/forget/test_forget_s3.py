"""Forgetting on a real S3 server: table, images and the list of requests lie there."""

import lance
import numpy as np
import pytest

import clipflow
from clipflow.errors import SourceError
from clipflow.forget.forget import forget
from clipflow.storage import Storage
from clipflow.uri import image_id
from tests.catalogues import job, picture
from tests.s3 import S3Server


def test_forgetting_on_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch)
    s3.make_bucket("forget")
    for number in range(12):
        s3.put(f"uploads/{number:04}.png", picture(number), "forget")
    copy = s3.put("uploads/copy.png", picture(4), "forget")
    table = "s3://forget/lake/t.lance"
    spec = job("s3://forget/uploads/", table, table={"commit_rows": 5})
    clipflow.run(spec, ray="none")
    options = Storage().lance_options(table)
    dataset = lance.dataset(table, storage_options=options)
    dataset.create_scalar_index("source_uri", "BTREE", "uri_idx")
    dataset.tags.create("published", 2)
    gone = ["s3://forget/uploads/0003.png", "s3://forget/uploads/0004.png"]
    vectors = {row["source_uri"]: np.array(row["vector"], np.float16) for row in dataset.to_table().to_pylist()}
    s3.put("requests.txt", f"# two\n{gone[0]}\n\n{image_id(gone[1])}\n".encode(), "forget")
    with pytest.raises(SourceError, match="does not exist"):
        forget(table, listed="s3://forget/nothing.txt")

    report = forget(table, listed="s3://forget/requests.txt")
    assert (report.requests, report.forgotten, report.also_held, report.verified) == (2, 2, 1, True)
    objects = s3.client.list_objects_v2(Bucket="forget", Prefix="lake/t.lance/")["Contents"]
    assert report.scanned["files"] == len(objects)
    data = b"".join(s3.client.get_object(Bucket="forget", Key=one["Key"])["Body"].read() for one in objects)
    for uri in gone:
        assert uri.encode() not in data
        assert image_id(uri).encode() not in data
    assert vectors[gone[0]].tobytes() not in data
    assert copy.encode() in data, "the search of the test finds nothing"
    again = clipflow.run(spec, ray="none").document()
    assert (again["unchanged"], again["forgotten"]) == (11, 2)
    assert [version["version"] for version in lance.dataset(table, storage_options=options).versions()] == [
        report.version
    ]
