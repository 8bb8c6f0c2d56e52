"""The exception tree: as drawn, with exit codes, and fit to travel between processes."""

import ast
import pickle
import re
from pathlib import Path

import pytest

import clipflow
from clipflow import errors
from clipflow.errors import ClipflowError, JobError, TooManyFailed, UsageError

_LINE = re.compile(r"(?P<lead>[ │├└─]*)(?P<name>[A-Z]\w+) {2,}(?P<text>.+)")


def below(kind: type[ClipflowError]) -> list[type[ClipflowError]]:
    """A class and all that derive from it in its module, a parent before its children."""
    # Providers and tests derive classes of their own.
    children = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind, *(found for child in children for found in below(child))]


def drawn() -> list[tuple[str, str | None, str]]:
    """Name, parent and text of every line of the drawing."""
    found: list[tuple[str, str | None, str]] = []
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if (match := _LINE.fullmatch(line)) is None:
            continue
        depth = len(match["lead"])
        while above and above[-1][0] >= depth:
            above.pop()
        found.append((match["name"], above[-1][1] if above else None, match["text"]))
        above.append((depth, match["name"]))
    return found


CLASSES = below(ClipflowError)


def test_the_drawing_is_the_tree() -> None:
    real = [(kind.__name__, kind.__mro__[1].__name__ if kind is not ClipflowError else None) for kind in CLASSES]
    assert [(name, parent) for name, parent, _ in drawn()] == real
    public = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and not name.startswith("_")
    }
    assert public == {name for name, _ in real}


def test_the_drawing_says_whether_a_retry_helps() -> None:
    by_name = {kind.__name__: kind for kind in CLASSES}
    said = {name: text.rpartition("; ")[2] for name, _, text in drawn()}
    leaves = [name for name, _, _ in drawn() if issubclass(by_name[name], JobError) and name != "JobError"]
    # Whether a retry helps after TooManyFailed depends on the failures.
    assert {name: said[name] for name in leaves if name != "TooManyFailed"} == {
        name: "retry" if by_name[name].retryable else "final" for name in leaves if name != "TooManyFailed"
    }


@pytest.mark.parametrize("kind", CLASSES)
def test_exit_codes(kind: type[ClipflowError]) -> None:
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)
    if kind.exit_code == 2:
        assert not kind.retryable, "exit 2 is final"


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_pickling(kind: type[ClipflowError]) -> None:
    error = kind("It is wrong.", "Mend it.")
    error.report = {"listed": 3}
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (str(back), back.message, back.mend) == ("It is wrong. Mend it.", "It is wrong.", "Mend it.")
    assert back.report == {"listed": 3}
    assert back.document() == error.document()


@pytest.mark.parametrize("passing", [True, False])
def test_too_many_failed_can_be_retried_when_failures_pass(passing: bool) -> None:
    error = TooManyFailed("Too many.", passing=passing)
    assert error.document() == {
        "class": "TooManyFailed",
        "message": "Too many.",
        "mend": "",
        "retryable": passing,
    }
    assert pickle.loads(pickle.dumps(error)).retryable is passing


def test_an_error_without_a_mend_is_its_message() -> None:
    assert str(ClipflowError("Only this.")) == "Only this."


def test_every_class_is_raised_somewhere() -> None:
    package = Path(clipflow.__file__).parent
    used = {
        node.id
        for path in package.rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Name)
    }
    leaves = {kind.__name__ for kind in CLASSES if not kind.__subclasses__()}
    assert leaves <= used
