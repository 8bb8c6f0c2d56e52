"""`python -OO`: transformers reads its own docstrings while it is imported, so that no model loads without them."""

import os
import sys
from contextlib import suppress


def keep_docstrings() -> None:
    """Where Python drops docstrings, begin again without that, in this very process."""
    if sys.flags.optimize < 2:
        return
    words = _without_o(sys.orig_argv)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONOPTIMIZE"}
    if (words, environment) != (sys.orig_argv, dict(os.environ)):
        with suppress(OSError):
            os.execve(sys.executable, words, environment)


def _without_o(words: list[str]) -> list[str]:
    """The command line without Python's own `-O`, alone or among other letters."""
    kept = words[:1]
    for at, word in enumerate(words[1:], 1):
        if not word.startswith("-") or word[:2] in ("-m", "-c", "-X", "-W", "--") or word == "-":
            kept.extend(words[at:])
            break
        if (less := word.replace("O", "")) != "-":
            kept.append(less)
    return kept
