"""Disks that are full or read-only: one sentence, nothing lost, and the next run finishes."""

from collections.abc import Iterator
from pathlib import Path

import lance
import pytest

from tests.catalogues import draw
from tests.machine.commands import Home, Say
from tests.machine.disks import disk, remount

FULL = "no space is left on the disk"
SMALL = "32k"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    with disk(SMALL, tmp_path / "small") as folder:
        yield folder


# What fits decides where it ends: in the runs table, while staging, at the first commit or a later one.
@pytest.mark.parametrize("size", ["4k", "32k", "64k"])
def test_the_disk_of_the_table_is_full(say: Say, tmp_path: Path, small: Path, size: str) -> None:
    home = Home(tmp_path, small / "t.lance")
    draw(home.images, range(40))
    remount(small, f"size={size}")
    said = say("run", home.job, "--set", "table.commit_rows=10")
    assert (said.code, said.error["class"], said.error["retryable"]) == (1, "StorageUnavailable", True)
    assert FULL in said.error["message"]
    assert str(small) in said.error["message"]
    found = say("doctor", home.job)
    assert found.code == 1
    assert FULL in found.error["message"]
    remount(small, "size=2m")
    assert say("run", home.job).code == 0
    assert lance.dataset(str(home.table)).count_rows() == 40
    assert say("doctor", home.job).code == 0


def test_the_disk_of_temporary_files_is_full(say: Say, home: Home, small: Path) -> None:
    remount(small, "size=4k")
    environment = {"TMPDIR": str(small)}
    for verb in ("run", "plan", "doctor"):
        said = say(verb, home.job, environment=environment)
        assert (said.code, said.error["class"], said.error["retryable"]) == (1, "StorageUnavailable", True)
        assert f"temporary files {small}: {FULL}" in said.error["message"]
        assert "TMPDIR" in said.error["mend"]
        assert not list(small.iterdir())
    assert not home.table.parent.exists()


def test_a_read_only_disk(say: Say, tmp_path: Path, small: Path) -> None:
    home = Home(tmp_path, small / "t.lance")
    remount(small, "size=2m")
    assert say("run", home.job).code == 0
    draw(home.images, range(4, 6))
    remount(small, "ro")
    for words in (
        ["run", home.job],
        ["doctor", home.job],
        ["maintain", home.table],
        ["forget", home.table, "--uri", "/x"],
    ):
        said = say(*words)
        assert (said.code, said.error["retryable"]) == (2, False)
        assert "its file system is read-only" in said.error["message"]
    # To read is allowed.
    assert say("plan", home.job).document["to_fetch"] == 2
    assert say("sql", home.table, "select count(*) as n from images").document == [{"n": 4}]
    for verb in ("run", "doctor"):
        said = say(verb, home.job, "--set", f"table.uri={small / 'new' / 't.lance'}")
        assert (said.code, said.error["retryable"]) == (2, False)
    said = say("run", home.job, environment={"TMPDIR": str(small)})
    assert (said.code, said.error["class"]) == (2, "MachineError")
    assert "temporary files" in said.error["message"]
