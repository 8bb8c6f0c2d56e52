"""A migration with images and both tables on S3, against a real server."""

import pytest

import clipflow
from clipflow.forget.forget import forget
from clipflow.migrate.migrate import migrate
from tests.catalogues import job, picture
from tests.s3 import S3Server


@pytest.mark.parametrize("to", [None, "elsewhere/new.lance"])
def test_on_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch, to: str | None) -> None:
    s3.use(monkeypatch)
    bucket = f"migrate-{'beside' if to is None else 'elsewhere'}"
    s3.make_bucket(bucket)
    names = [f"uploads/{number}.png" for number in range(5)] + ["uploads/sub folder/ä#1?.png"]
    for number, name in enumerate(names):
        s3.put(name, picture(number), bucket)
    old = f"s3://{bucket}/lake/t.lance"
    clipflow.run(job(f"s3://{bucket}/uploads/", old), ray="none")
    table = clipflow.open(old)
    table.review([f"s3://{bucket}/{names[-1]}"], "rejected", by="ann", why="a screenshot")
    forget(old, uris=[f"s3://{bucket}/{names[0]}"])
    new = to and f"s3://{bucket}/{to}"
    report = migrate(old, "stub:dim=24", to=new, sets=["encoder.loader=stub"], ray="none")
    assert (report.embedded, report.reviews, report.tombstones, report.switched) == (5, 1, 1, True)
    assert table.metadata["encoder_id"] == report.encoder_id
    assert table.sql("select source_uri from images where reviewed_by = 'ann'") == [
        {"source_uri": f"s3://{bucket}/{names[-1]}"}
    ]
    spec = job(f"s3://{bucket}/uploads/", report.table, encoder={"model": "stub:dim=24", "loader": "stub"})
    counts = clipflow.run(spec, ray="none").counts
    assert (counts["unchanged"], counts["forgotten"], counts["embedded"]) == (5, 1, 0)
