"""Where a Ray of ours keeps its sockets, whatever the folder for temporary files is called."""

import os
import socket
from pathlib import Path

import pytest

from clipflow.engine.sockets import ray_folder
from clipflow.errors import MachineError

BEHIND = "session_2026-11-28_09-04-32_100981_4194304/sockets/plasma_store.1"


@pytest.mark.parametrize("name", ["l" * 90, "a'b", "a\nb", "a\udce9b", "a b", "é"])
def test_a_socket_fits_and_lies_in_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    parent = tmp_path / name
    parent.mkdir()
    monkeypatch.setenv("TMPDIR", str(parent))
    with ray_folder() as folder:
        assert folder.isascii()
        address = Path(folder, BEHIND)
        address.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(address))
        assert (parent / "ray" / BEHIND).is_socket()
    assert not os.path.lexists(folder), "the link goes, the folder stays"
    assert (parent / "ray").is_dir()


def test_a_short_folder_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/")
    with ray_folder() as folder:
        assert folder == "/tmp/ray"


def test_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "file"))
    with pytest.raises(MachineError, match="temporary files"), ray_folder():
        pass
