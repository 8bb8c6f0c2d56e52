"""What a rehearsal says would move is what moves."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import clipflow
from clipflow.cli import main
from clipflow.files import read_file
from clipflow.rejudge import rejudge
from clipflow.spec import PolicySpec
from tests.catalogues import job, picture, rows
from tests.s3 import S3Server

POLICY = {
    "rules": [
        {"name": "small", "score": "min_side", "reject_below": 30, "review_below": 36},
        {"name": "twin", "score": "near_duplicate", "review_above": 0.97},
    ]
}
COLUMNS = ["image_id", "source_uri", "from", "to", "reasons_before", "reasons_after"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("movement")
    lines = []
    for at in range(24):
        name = f"picture ä, {at}.png"
        (folder / name).write_bytes(picture(at % 20, width=24 + at, height=60))
        lines.append({"uri": name, "locale": [None, "de", "fr;x", "ja"][at % 4]})
    (folder / "broken.png").write_bytes(b"no picture")
    lines.append({"uri": "broken.png", "locale": "de"})
    (folder / "m.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    source = {"kind": "manifest", "attributes": ["locale"]}
    rules = {"rules": [{"name": "wide", "score": "min_side", "reject_above": 44}]}
    clipflow.run(job(folder / "m.jsonl", folder / "t.lance", source=source, policy=rules), ray="none")
    (folder / "policy.json").write_text(json.dumps(POLICY))
    return folder / "t.lance"


def said(table: Path, *words: object) -> Any:
    return main(["judge", str(table), "--policy", str(table.parent / "policy.json"), *map(str, words)])


def test_the_rows_and_groups_are_those_that_move(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows(table)
    lists = [tmp_path / "moves.csv", tmp_path / "moves.jsonl"]
    for path in lists:
        capsys.readouterr()
        assert said(table, "--dry-run", "--by", "locale", "status", "--list", path, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["list_file"] == str(lists[1])
    assert clipflow.open(table).images.version == report["version"]
    assert said(table, "--dry-run", "--by", "locale") == 0
    assert "(none): " in capsys.readouterr().out

    with lists[0].open(encoding="utf-8", newline="") as file:
        by_csv = list(csv.DictReader(file))
    by_json = [json.loads(line) for line in lists[1].read_text().splitlines()]
    assert list(by_csv[0]) == list(by_json[0]) == [*COLUMNS, "locale", "status"]
    assert [{**row, "locale": row["locale"] or ""} for row in by_json] == [
        {**row, **{key: row[key].split(";") if row[key] else [] for key in ("reasons_before", "reasons_after")}}
        for row in by_csv
    ]

    judged = rejudge(str(table.with_name("t.lance")), PolicySpec.model_validate(POLICY), dry_run=True)
    assert judged.changed == len(by_json) == report["changed"] > 8
    assert judged.groups == []
    moved = Counter((row["locale"], row["from"], row["to"]) for row in by_json)
    told = {
        (group["value"], move["from"], move["to"]): move["rows"]
        for group in report["groups"]
        if group["column"] == "locale"
        for move in group["moves"]
    }
    assert told == moved
    for group in report["groups"]:
        column = {"locale": "attr_locale", "status": "status"}[group["column"]]
        assert group["rows"] == sum(row[column] == group["value"] for row in before.values())
        assert group["changed"] == sum(move["rows"] for move in group["moves"])

    copy = tmp_path / "t.lance"
    shutil.copytree(table, copy)
    rejudge(str(copy), PolicySpec.model_validate(POLICY))
    after = rows(copy)
    assert {key for key, row in after.items() if row["status"] != before[key]["status"]} == {
        row["image_id"] for row in by_json
    }
    for row in by_json:
        old, new = before[row["image_id"]], after[row["image_id"]]
        assert (row["source_uri"], row["from"], row["to"]) == (old["source_uri"], old["status"], new["status"])
        assert (row["reasons_before"], row["reasons_after"]) == (old["reasons"], new["reasons"])


def test_a_list_may_lie_on_s3(table: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch)
    assert said(table, "--dry-run", "--list", "s3://open/movement/moves.CSV") == 0
    assert read_file("s3://open/movement/moves.CSV", "list").startswith(",".join(COLUMNS).encode())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--by", "locale"], "Add --dry-run"),
        (["--list", "a.csv"], "Add --dry-run"),
        (["--dry-run", "--list", "a.txt"], "end in .csv or .jsonl"),
        (["--dry-run", "--by", "local"], "Did you mean 'locale'"),
        (["--dry-run", "--by", "blur"], "makes no groups"),
        (["--dry-run", "--list", "/nowhere/at/all.csv"], "cannot be written"),
    ],
)
def test_a_rehearsal_that_cannot_be_is_refused(
    table: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(table, *words) == 2
    assert sentence in capsys.readouterr().err
