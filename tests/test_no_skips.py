"""The option --no-skips: where everything can run, a test that did not is a failure."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

def test_good():
    pass

@pytest.mark.skip(reason="by a mark")
def test_marked():
    pass

def test_in_the_midst():
    pytest.skip("no such tool")

@pytest.mark.xfail(reason="known", strict=True)
def test_expected_to_fail():
    assert False
"""
MODULE = "import pytest\npytest.skip('a whole module', allow_module_level=True)\n"


def outcome(tmp_path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text(MODULE)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        "pyproject.toml",
        "-p",
        "tests.conftest",
    ]
    # The options of the run around this one are not meant for it.
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    return subprocess.run(
        [*command, "--rootdir", str(tmp_path), "--continue-on-collection-errors", *options, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=500,
        cwd=ROOT,
        env=environment,
    )


def test_without_the_option_skips_are_fine(tmp_path: Path) -> None:
    done = outcome(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed, 3 skipped, 1 xfailed" in done.stdout


def test_with_it_every_skip_fails_and_says_why(tmp_path: Path) -> None:
    done = outcome(tmp_path, "--no-skips")
    assert done.returncode == 1
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in done.stdout
    for reason in ("by a mark", "no such tool", "a whole module"):
        assert f"skipped: Skipped: {reason}" in done.stdout or f"skipped: {reason}" in done.stdout
