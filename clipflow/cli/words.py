"""Words of the command line that are no text: a path may hold any byte, and all else is to be UTF-8."""

import sys
from collections.abc import Sequence

from clipflow.errors import MachineError, UsageError


def not_utf8(words: Sequence[str], error: BaseException) -> UsageError | None:
    """The error to raise when a library could not take a word for a text; None when that was not it."""
    if not isinstance(error, UnicodeError | TypeError) and "surrogate" not in str(error):
        return None
    wrong = next((word for word in words if not _is_text(word)), None)
    return None if wrong is None else UsageError(f"The word {wrong!r} is not UTF-8.", "Write it in UTF-8.")


def _is_text(word: str) -> bool:
    try:
        word.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_names() -> None:
    """Raises MachineError where Python takes file names for something else than UTF-8.

    One file would have another address, and so another row, than on any other machine.
    """
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        raise MachineError(
            f"Python reads file names as {encoding} here, which gives one file another address than elsewhere.",
            "Set PYTHONUTF8=1, or a locale of UTF-8 such as LC_ALL=C.UTF-8.",
        )
