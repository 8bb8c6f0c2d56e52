"""What a disk answers at the last step of a commit, as the user reads it, and as doctor finds it beforehand."""

import errno

import lance
import pytest

from tests.machine.commands import Home, Say

NO_LINKS = "has no hard links"
ANSWERS = [
    # exFAT, mounted buckets, CIFS, some network file systems.
    (errno.EPERM, 2, False, NO_LINKS),
    (errno.EOPNOTSUPP, 2, False, NO_LINKS),
    (errno.ENOSPC, 1, True, "no space is left on the disk"),
    (errno.EDQUOT, 1, True, "the disk quota is used up"),
    (errno.ESTALE, 1, True, "its mount is gone"),
    (errno.EROFS, 2, False, "its file system is read-only"),
    # Not known to us: in its own words.
    (errno.EUCLEAN, 1, True, "structure needs cleaning"),
]


@pytest.mark.parametrize(
    ("number", "code", "retryable", "words"), ANSWERS, ids=[errno.errorcode[a[0]] for a in ANSWERS]
)
def test_a_commit_that_the_disk_refuses(
    say: Say, home: Home, number: int, code: int, retryable: bool, words: str
) -> None:
    before = f"from tests.machine.kernel import deny_links\ndeny_links({number})"
    home.table.parent.mkdir()
    for verb in ("run", "doctor"):
        said = say(verb, home.job, before=before)
        assert (said.code, said.error["retryable"]) == (code, retryable)
        assert words in said.error["message"]
        assert str(home.table.parent) in said.error["message"]
        assert said.error["mend"]
    assert not list(home.table.parent.glob(".clipflow*")), "doctor leaves nothing"
    # The disk was mended; nothing of the failed run is in the way.
    assert say("run", home.job).document["embedded"] == 4
    assert lance.dataset(str(home.table)).count_rows() == 4


def test_files_may_not_grow(say: Say, home: Home) -> None:
    before = "import resource, signal\nresource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))"
    said = say("run", home.job, before=before)
    assert (said.code, said.error["retryable"]) == (2, False)
    assert "ulimit -f" in said.error["mend"]


def test_too_few_files_may_be_open(say: Say, home: Home) -> None:
    before = "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))"
    said = say("run", home.job, before=before)
    assert (said.code, said.error["retryable"]) == (2, False)
    assert "ulimit -n" in said.error["mend"]
