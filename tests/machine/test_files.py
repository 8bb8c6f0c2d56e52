"""Files that a user names and that are no small text: folders, pipes, devices without an end, other encodings."""

import os
import threading
from pathlib import Path

import pytest

from clipflow.small_file import MOST, read_small
from tests.machine.commands import Home, Say


def test_what_is_no_job_file(say: Say, home: Home, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"name: \xe9\n")
    (tmp_path / "loop").symlink_to("loop")
    for place, words in {
        tmp_path: "Is a directory",
        tmp_path / "latin": "invalid continuation byte",
        tmp_path / "loop": "Too many levels of symbolic links",
        tmp_path / "gone": "There is no",
        Path("/dev/zero"): "more than 64 MB",
        Path("/dev/null"): "no job",
    }.items():
        said = say("run", place)
        assert (said.code, said.error["class"]) == (2, "JobFileError")
        assert words in said.error["message"]
    assert "64 MB" in say("judge", home.table, "--policy", "/dev/zero").error["message"]


def test_a_list_of_requests_that_never_ends(say: Say, filled: Home) -> None:
    said = say("forget", filled.table, "--from", "/dev/zero")
    assert said.code == 2
    assert "more than 256 MB" in said.error["message"]


def test_a_pipe_is_read_as_slowly_as_it_is_written(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def slowly() -> None:
        with open(pipe, "wb", buffering=0) as file:
            for part in (b"na", b"me", b": x"):
                file.write(part)
                threading.Event().wait(0.1)

    writer = threading.Thread(target=slowly)
    writer.start()
    assert read_small(pipe) == b"name: x"
    writer.join()


def test_a_pipe_that_nobody_writes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipflow.small_file._PATIENCE_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="nobody writes"):
        read_small(tmp_path / "pipe")


def test_the_largest_file_is_read_and_no_larger_one(tmp_path: Path) -> None:
    place = tmp_path / "file"
    with open(place, "wb") as file:
        file.truncate(MOST)
    assert len(read_small(place)) == MOST
    os.truncate(place, MOST + 1)
    with pytest.raises(OSError, match="more than 64 MB"):
        read_small(place)
