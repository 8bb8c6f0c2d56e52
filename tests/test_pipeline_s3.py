"""The main job with its images on S3 and its table on S3, against a real server."""

from pathlib import Path

import lancedb
import pytest

import clipflow
from clipflow.errors import SourceError, TableError
from clipflow.storage import Storage
from tests.catalogues import job, picture
from tests.s3 import ADMIN, READER, S3Server


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    s3.use(monkeypatch)
    name = f"flow-{abs(hash(request.node.name)) % 10**8}"
    s3.make_bucket(name)
    return name


def test_images_and_table_on_s3(s3: S3Server, bucket: str) -> None:
    for number in range(30):
        s3.put(f"uploads/{number}.png", picture(number), bucket)
    s3.put("uploads/sub folder/ä#1?.png", picture(99), bucket)
    s3.put("uploads/broken.jpg", b"no picture", bucket)
    spec = job(f"s3://{bucket}/uploads/", f"s3://{bucket}/lake/t.lance", table={"commit_rows": 10})
    report = clipflow.run(spec, ray="none").document()
    assert (report["listed"], report["embedded"], report["failed"]) == (32, 31, 1)
    again = clipflow.run(spec, ray="none").document()
    assert (again["version"], again["unchanged"], again["seconds"]["fetch"]) == (report["version"], 32, 0.0)

    s3.put("uploads/0.png", picture(1000), bucket)
    s3.put("uploads/copy.png", picture(5), bucket)
    s3.delete("uploads/3.png", bucket)
    third = clipflow.run(spec, ray="none").document()
    assert (third["listed"], third["unchanged"], third["embedded"], third["reused"]) == (32, 30, 1, 1)

    table = clipflow.open(f"s3://{bucket}/lake/t.lance")
    (found,) = table.sql("select count(*) as n, count(distinct image_id) as ids, count(vector) as v from images")
    assert (found["n"], found["ids"], found["v"]) == (33, 33, 32)
    hits = table.search("anything", k=40)
    assert len(hits) == 32
    assert any(hit["source_uri"] == f"s3://{bucket}/uploads/sub folder/ä#1?.png" for hit in hits)
    assert [run["verb"] for run in table.sql("select verb from runs")] == ["run"] * 3


def test_lancedb_opens_the_tables_by_name(s3: S3Server, bucket: str) -> None:
    s3.put("a.png", picture(1), bucket)
    clipflow.run(job(f"s3://{bucket}/a.png", f"s3://{bucket}/lake/catalog.lance"), ray="none")
    options = Storage().lance_options(f"s3://{bucket}/lake")
    folder = lancedb.connect(f"s3://{bucket}/lake", storage_options=options)
    assert folder.open_table("catalog").count_rows() == 1
    assert folder.open_table("catalog_runs").count_rows() == 1


def test_a_missing_bucket_is_one_sentence_and_writes_nothing(s3: S3Server, bucket: str) -> None:
    with pytest.raises(SourceError, match="no-such-bucket"):
        clipflow.run(job("s3://no-such-bucket/x/", f"s3://{bucket}/lake/t.lance"), ray="none")
    assert not s3.client.list_objects_v2(Bucket=bucket).get("Contents")


def test_a_table_that_may_not_be_written_is_one_sentence(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    s3.use(monkeypatch, READER)
    with pytest.raises(TableError, match=bucket):
        clipflow.run(job(tmp_path / "a.png", f"s3://{bucket}/lake/t.lance"), ray="none")


@pytest.mark.parametrize("table", ["here", "there"])
def test_wrong_credentials_are_one_sentence(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, table: str
) -> None:
    s3.use(monkeypatch, ("wrong", "secretsecret"))
    uri = tmp_path / "t.lance" if table == "here" else f"s3://{bucket}/t.lance"
    with pytest.raises(SourceError if table == "here" else TableError) as caught:
        clipflow.run(job(f"s3://{bucket}/x/", uri), ray="none")
    assert "secretsecret" not in str(caught.value)
    assert "AWS_" in caught.value.mend
    assert not list(tmp_path.iterdir())


def test_a_table_in_a_missing_bucket_is_one_sentence(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(1))
    with pytest.raises(TableError, match="no-such-bucket"):
        clipflow.run(job(tmp_path / "a.png", "s3://no-such-bucket/lake/t.lance"), ray="none")


def test_images_and_table_on_s3_by_ray(s3: S3Server, bucket: str) -> None:
    """Workers read the store with the credentials of their own environment; none stand in the job."""
    for number in range(8):
        s3.put(f"images/{number}.png", picture(number), bucket)
    storage = {"endpoint": s3.endpoint, "region": "us-east-1"}
    table = f"s3://{bucket}/lake/t.lance"
    spec = job(f"s3://{bucket}/images/", table, source={"storage": storage}, table={"storage": storage})
    assert clipflow.run(spec, ray="local").document()["embedded"] == 8
    (run,) = clipflow.open(table).sql("select * from runs")
    assert ADMIN[1] not in str(run)
    assert ADMIN[1] not in str(clipflow.open(table).metadata)
