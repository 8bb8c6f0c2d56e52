"""`damaged` as a pixel measure: stored for every decoded image, and a rule's score."""

from pathlib import Path

import clipflow
from clipflow.cli import main
from tests.catalogues import draw, job, picture, rows

POLICY = {"rules": [{"name": "broken", "score": "damaged", "reject_above": 0.5}]}


def test_rows_say_whether_the_decoder_had_to_guess(tmp_path: Path) -> None:
    draw(tmp_path / "images", [1, 2])
    (tmp_path / "images" / "whole.png").write_bytes(picture(3))
    (tmp_path / "images" / "endless.png").write_bytes(picture(4)[:-12])
    (tmp_path / "images" / "half.png").write_bytes(picture(5)[:200])
    spec = job(tmp_path / "images", tmp_path / "t.lance", policy=POLICY)
    clipflow.run(spec, ray="none")
    found = {Path(row["source_uri"]).name: row for row in rows(tmp_path / "t.lance").values()}
    told = {name: (row["damaged"], row["status"], row["reasons"]) for name, row in found.items()}
    assert told == {
        "000001.png": (0.0, "accepted", []),
        "000002.png": (0.0, "accepted", []),
        "whole.png": (0.0, "accepted", []),
        "endless.png": (1.0, "rejected", ["broken"]),
        "half.png": (None, "failed", ["truncated"]),
    }


def test_the_rule_may_come_later_and_bytes_that_are_known_keep_the_measure(tmp_path: Path) -> None:
    images, table = tmp_path / "images", tmp_path / "t.lance"
    draw(images, [1])
    (images / "endless.png").write_bytes(picture(4)[:-12])
    clipflow.run(job(images, table), ray="none")
    (images / "again.png").write_bytes(picture(4)[:-12])
    assert clipflow.run(job(images, table), ray="none").document()["reused"] == 1
    (tmp_path / "policy.yaml").write_text("rules: [{name: broken, score: damaged, reject_above: 0.5}]")
    assert main(["judge", str(table), "--policy", str(tmp_path / "policy.yaml")]) == 0
    found = {Path(row["source_uri"]).name: row["status"] for row in rows(table).values()}
    assert found == {"000001.png": "accepted", "endless.png": "rejected", "again.png": "rejected"}
