"""A table some of whose files are gone or cut: told as that, by doctor beforehand, and never as a defect."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clipflow.cli import main
from clipflow.doctor import examine
from clipflow.storage import Storage
from tests.machine.commands import Home, Say
from tests.s3 import S3Server


def _cut(file: Path) -> None:
    os.truncate(file, 500)


def _noise(file: Path) -> None:
    file.write_bytes(b"x" * 3000)


@pytest.mark.parametrize("harm", [Path.unlink, _cut], ids=["gone", "cut"])
def test_files_of_the_rows(say: Say, filled: Home, tmp_path: Path, harm: Callable[[Path], None]) -> None:
    table = tmp_path / "t.lance"
    shutil.copytree(filled.table, table)
    (data,) = (table / "data").iterdir()
    harm(data)
    for words in (
        ["run", filled.job, "--set", f"table.uri={table}"],
        ["sql", table, "select min(source_uri) from images"],
        ["search", table, "red"],
        ["audit", table, "--by", "media_type"],
        ["maintain", table],
        ["doctor", filled.job, "--set", f"table.uri={table}"],
    ):
        said = say(*words)
        # A reader beside a deletion may find a file gone, and reads on at the newer version.
        assert said.code == (1 if harm is Path.unlink and words[0] != "doctor" else 2)
        assert said.error["retryable"] is (said.code == 1)
        assert any(word in said.error["message"] for word in ("not there any more", "missing or damaged"))
        assert "\n" not in said.error["message"]


def test_the_file_of_a_version(say: Say, filled: Home, tmp_path: Path) -> None:
    table = tmp_path / "t.lance"
    shutil.copytree(filled.table, table)
    for file in (table / "_versions").glob("*.manifest"):
        _noise(file)
    for words in (["sql", table, "select 1 from images"], ["doctor", filled.job, "--set", f"table.uri={table}"]):
        said = say(*words)
        assert (said.code, said.error["class"]) == (2, "TableError")
        assert "missing or damaged" in said.error["message"]


def test_files_that_are_gone_from_a_bucket(home: Home, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch)
    table = "s3://open/damage/t.lance"
    assert main(["run", str(home.job), "--set", f"table.uri={table}", "--ray", "none"]) == 0
    assert examine(str(home.job), [f"table.uri={table}"], None, None).exit_code == 0
    filesystem = Storage().filesystem(table)
    filesystem.rm_file(filesystem.ls(f"{table}/data", detail=False)[0])
    found = examine(str(home.job), [f"table.uri={table}"], None, None)
    assert found.exit_code == 2
    assert "1 of 1 files" in found.text()
