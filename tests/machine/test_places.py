"""Places of any name for temporary files and for the table, and places that are none."""

import os
from pathlib import Path

import lance
import pytest

from tests.catalogues import draw
from tests.machine.commands import Home, Say

NAMES = [b"a'b", b"a?b", b"a\\b", b"a\nb", b"a\xe9b", "*[\u0416]{%20#}".encode()]
ODD = """'"?#%20 100%\\*[\u0416]{}"""


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_temporary_files_in_a_folder_of_any_name(say: Say, home: Home, name: bytes) -> None:
    folder = os.path.join(os.fsencode(home.images.parent), b"tmp", name)
    os.makedirs(folder)
    environment = {"TMPDIR": os.fsdecode(folder)}
    assert say("run", home.job, environment=environment).document["embedded"] == 4
    assert os.listdir(folder) == []


def test_a_probe_and_a_migration_in_a_folder_of_any_name(say: Say, home: Home, tmp_path: Path) -> None:
    folder = tmp_path / ODD
    folder.mkdir()
    environment = {"TMPDIR": str(folder)}
    assert say("plan", home.job, "--estimate", "--probe", 2, environment=environment).code == 0
    assert say("doctor", home.job, environment=environment).code == 0
    assert say("run", home.job).code == 0
    assert say("forget", home.table, "--uri", "/x").code == 0
    words = ("migrate", home.table, "--encoder", "stub:dim=8", "--set", "encoder.loader=stub")
    assert say(*words, environment=environment).code == 0
    assert os.listdir(folder) == []


def test_no_folder_for_temporary_files(say: Say, home: Home, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, words in ((tmp_path / "gone", "it does not exist"), (tmp_path / "file", "is a file and no folder")):
        for verb in ("run", "plan", "doctor"):
            said = say(verb, home.job, environment={"TMPDIR": str(place)})
            assert (said.code, said.error["class"], said.error["retryable"]) == (2, "MachineError", False)
            assert str(place) in said.error["message"]
            assert words in said.error["message"]
            assert "TMPDIR" in said.error["mend"]


def test_a_table_in_a_folder_of_any_name(say: Say, tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / ODD / f"{ODD}.lance")
    assert say("run", home.job).document["embedded"] == 4
    draw(home.images, [4])
    again = say("run", home.job).document
    assert (again["unchanged"], again["embedded"]) == (4, 1)
    assert say("sql", home.table, "select count(*) as n from images, runs").document == [{"n": 10}]
    assert say("maintain", home.table).code == 0
    assert say("forget", home.table, "--uri", home.images / "000001.png").document["verified"] is True
    assert lance.dataset(str(home.table)).count_rows() == 4


@pytest.mark.parametrize("name", ["a\nb", "a\x7fb"])
def test_a_table_whose_path_lance_does_not_take(say: Say, tmp_path: Path, name: str) -> None:
    home = Home(tmp_path, tmp_path / name / "t.lance")
    for verb in ("run", "doctor", "plan"):
        said = say(verb, home.job)
        assert (said.code, said.error["class"]) == (2, "TableError")
        assert "control character" in said.error["message"]
    assert not (tmp_path / name).exists()


def test_places_where_no_table_can_be(say: Say, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "file.lance").touch()
    (tmp_path / "nowhere.lance").symlink_to(tmp_path / "gone" / "t.lance")
    (tmp_path / "loop.lance").symlink_to("loop.lance")
    home = Home(tmp_path, tmp_path / "t.lance")
    for place, verbs, words in (
        ("file/t.lance", ["run"], "is a file and no folder"),
        ("file.lance", ["doctor"], "is a file and no folder"),
        ("nowhere.lance", ["run", "doctor"], "a link that leads nowhere"),
        ("loop.lance", ["doctor"], "its links lead in a circle"),
        # Its own name would do; those of its companions do not.
        (f"{'x' * 240}.lance", ["run"], "its path is too long"),
    ):
        for verb in verbs:
            said = say(verb, home.job, "--set", f"table.uri={tmp_path / place}")
            assert (said.code, said.error["retryable"]) == (2, False), place
            assert words in said.error["message"]
