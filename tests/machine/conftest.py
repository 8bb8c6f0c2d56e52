"""Commands in processes of their own, on a machine that refuses something."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.forks import Forks
from tests.machine.commands import Home, Said, Say
from tests.machine.disks import can_mount

ROOT = Path(__file__).parents[2]
_MAIN = "import os, sys\nfrom clipflow.cli import main\nos._exit(main(sys.argv[1:]))"

# Not skipped, which would be a failure under --no-skips: where nothing may be mounted the kernel's answers are had
# by `test_kernel.py`.
collect_ignore = [] if can_mount() else ["test_disks.py"]


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "operators"), os.environ.get("PYTHONPATH", "")])
    with Forks("tests.preloaded", environment={"PYTHONPATH": path}) as started:
        yield started


@pytest.fixture
def say(forks: Forks) -> Say:
    """Runs a command with --json; `before` is code that comes first. Never a traceback, and one document."""

    def said(*words: object, before: str = "", environment: Mapping[str, str] | None = None) -> Said:
        (ended,) = forks.run(f"{before}\n{_MAIN}", *map(str, words), "--json", environment=environment)
        assert "Traceback" not in ended.err, ended.err
        assert "defect" not in ended.err, ended.err
        assert ended.out.count("\n") == 1, (ended.out, ended.err)
        sentences = re.findall("^clipflow: (.*)$", ended.err, re.MULTILINE)
        assert len(sentences) == (ended.code != 0 and words[0] != "doctor"), ended.err
        return Said(ended.code, json.loads(ended.out), "".join(sentences))

    return said


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path / "lake" / "t.lance")


@pytest.fixture(scope="session")
def filled(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A table for those who only read."""
    folder = tmp_path_factory.mktemp("filled")
    made = Home(folder, folder / "t.lance")
    (ended,) = forks.run(_MAIN, "run", str(made.job))
    assert ended.code == 0, ended.err
    return made
