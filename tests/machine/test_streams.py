"""Streams that are closed, full or gone: never a traceback, and the exit code is that of the work."""

import os
import subprocess
import sys
from pathlib import Path

import lance
import pytest

from clipflow.cli.output import one_line, write
from tests.forks import Ended, Forks
from tests.machine.commands import Home, Say

_MAIN = "from clipflow.cli import main\nos._exit(main(sys.argv[1:]))"
CLOSED = "import os, sys\nfor at in (0, 1, 2): os.close(at)\nsys.stdin = sys.stdout = sys.stderr = None\n"
FULL = "import os, sys\nos.dup2(os.open('/dev/full', os.O_WRONLY), {number})\n"
GONE = "import os, sys\nread, into = os.pipe()\nos.close(read)\nos.dup2(into, {number})\n"


def ended(forks: Forks, before: str, *words: object) -> Ended:
    (found,) = forks.run(before + _MAIN, *map(str, words))
    assert "Traceback" not in found.err
    return found


def test_no_streams_at_all(forks: Forks, home: Home) -> None:
    assert ended(forks, CLOSED, "run", home.job).code == 0
    # Nothing that was meant for a stream went into a file that got its number.
    assert lance.dataset(str(home.table)).to_table().num_rows == 4
    assert ended(forks, CLOSED, "run", home.job, "--progress").code == 0
    assert ended(forks, CLOSED, "run", "none.yaml").code == 2
    assert ended(forks, CLOSED, "run", "-").code == 2


def test_standard_output_is_full_or_gone(forks: Forks, home: Home) -> None:
    full = ended(forks, FULL.format(number=1), "run", home.job, "--json")
    assert full.code == 1
    assert "Cannot write to standard output: no space is left" in full.err
    assert lance.dataset(str(home.table)).count_rows() == 4, "the work was done"
    assert ended(forks, FULL.format(number=1), "run", "none.yaml", "--json").code == 2
    assert ended(forks, FULL.format(number=1), "run", "--help").code == 1
    assert ended(forks, GONE.format(number=1), "sql", home.table, "select * from images").code == 0
    assert ended(forks, GONE.format(number=1), "run", "none.yaml").code == 2


def test_standard_error_is_full_or_gone(forks: Forks, home: Home) -> None:
    for broken in (FULL, GONE):
        found = ended(forks, broken.format(number=2), "run", home.job, "--progress", "--json")
        assert (found.code, found.out.count("\n")) == (0, 1)
        assert ended(forks, broken.format(number=2), "run", "none.yaml").code == 2


def test_the_end_of_a_whole_interpreter_adds_nothing(home: Home) -> None:
    """A text that stays in a buffer is written once more at the very end, and fails there with a code of its own."""
    for redirection, code in ((">/dev/full", 1), (">&-", 0), ("| true", 0)):
        command = f"set -o pipefail; {sys.executable} -m clipflow run --help {redirection}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300)
        assert done.returncode == code, (redirection, done.stderr)
        assert done.stderr.count("\n") == code
        assert "Exception ignored" not in done.stderr


def test_what_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    with open(tmp_path / "said", "w", encoding="ascii") as stream:
        write("é\n", stream)
    assert (tmp_path / "said").read_text() == "\\xe9\n"
    assert one_line("a\nb\udce9 é") == "a\\nb\\udce9 é"


def test_a_long_text_waits_for_a_slow_reader() -> None:
    """Whoever shares the stream may have set it not to wait."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    child = os.fork()
    if child == 0:
        os.close(writing)
        total = 0
        while part := os.read(reading, 100_000):
            total += len(part)
        os._exit(total == 3_000_000)
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        write("x" * 3_000_000, stream)
        assert not os.get_blocking(writing)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


ODD = "a\udce9b"


@pytest.mark.parametrize(
    "words",
    [
        [ODD],
        ["run", ODD],
        ["run", "JOB", "--set", f"table.uri={ODD}.lance"],
        ["search", "TABLE", ODD],
        ["search", "TABLE", "--image", ODD],
        ["search", "TABLE", "red", "--where", f"caption = '{ODD}'"],
        ["sql", f"{ODD}.lance", "select 1"],
        ["sql", "TABLE", f"select '{ODD}'"],
        ["audit", "TABLE", "--by", "media_type", "--against", ODD],
        ["audit", "TABLE", "--by", "media_type", "--fail-if", ODD],
        ["review", "TABLE", "--accept", ODD, "--by", "me", "--why", "so"],
        ["explain", "TABLE", ODD],
        ["forget", "TABLE", "--where", f"caption = '{ODD}'"],
        ["maintain", "TABLE", "--tag", ODD],
        ["migrate", "TABLE", "--encoder", ODD],
    ],
    ids=" ".join,
)
def test_words_that_are_not_utf8(say: Say, filled: Home, words: list[str]) -> None:
    places = {"JOB": str(filled.job), "TABLE": str(filled.table)}
    said = say(*[places.get(word, word) for word in words])
    assert said.code == 2
    assert not said.error["retryable"]
    assert ODD not in said.sentence, "what cannot be printed is escaped"
