"""`python -OO`: transformers reads its own docstrings while it is imported, so that no model loads without them."""

import os
import sys
from contextlib import suppress


def keep_docstrings() -> None:
    """Begin again as `python -O` would, in this very process; asserts stay left out, as was asked for."""
    if sys.flags.optimize < 2:
        return
    words = _with_one(sys.orig_argv)
    environment = {**os.environ, "PYTHONOPTIMIZE": "1"}
    if (words, environment) != (sys.orig_argv, dict(os.environ)):
        with suppress(OSError):
            os.execve(sys.executable, words, environment)


def _with_one(words: list[str]) -> list[str]:
    """The command line without Python's own `-O`, alone or among other letters."""
    kept = words[:1]
    for at, word in enumerate(words[1:], 1):
        if not word.startswith("-") or word[:2] in ("-m", "-c", "-X", "-W", "--") or word == "-":
            kept.extend(words[at:])
            break
        if (less := word.replace("O", "")) != "-":
            kept.append(less)
    return kept
