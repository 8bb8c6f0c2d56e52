"""Globs: `*`, `?` and `[…]` within a name, `**` over folders; a plain bracket is written `[[]`."""

import re

from fsspec.utils import glob_translate

from clipflow.errors import SourceError

_MAGIC = re.compile(r"[*?[]")


def is_glob(text: str) -> bool:
    """Whether a text holds a wildcard."""
    return _MAGIC.search(text) is not None


def split_glob(path: str) -> tuple[str, str]:
    """The folders of a glob before its first wildcard, a slash at their end, and the rest; of no glob all, and ""."""
    found = _MAGIC.search(path)
    if not found:
        return path, ""
    head, slash, _ = path[: found.start()].rpartition("/")
    root = head + slash
    return root, path[len(root) :]


def plain_start(rest: str) -> str:
    """The text of a glob before its first wildcard."""
    found = _MAGIC.search(rest)
    return rest[: found.start()] if found else rest


def compiled(rest: str) -> re.Pattern[str]:
    """What the way of an object below the root of a glob must match; a folder stands for all in it where a slash ends.

    Raises:
        SourceError: It is no glob.
    """
    return re.compile(translated(rest + "**" if rest.endswith("/") else rest) + "\\Z")


def translated(glob: str) -> str:
    """A glob as a regular expression without its end.

    Raises:
        SourceError: It is no glob.
    """
    try:
        found: str = glob_translate(glob)
    except ValueError:
        raise SourceError(f"{glob!r} joins ** with other characters.", "Write ** as a folder of its own.") from None
    return found.removesuffix("\\Z")
