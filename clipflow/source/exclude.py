"""Names that are not pictures, left out of a listing: what systems, stores and this package leave beside them."""

import re
from collections.abc import Sequence
from functools import lru_cache

from fsspec.utils import glob_translate

from clipflow.errors import JobFileError
from clipflow.spec import DEFAULT_EXCLUDE, SourceSpec

_DEFAULT = "default"


class Exclude:
    """Patterns that names below the root of a source are held against, upper and lower case alike.

    A pattern without a slash is held against each name on the way down, of folders and of objects; a pattern with one
    against the whole way below the root, from its first folder on. What lies in a folder that is left out is left out.

    Args:
        patterns: Globs.
        own: Canonical addresses that are left out with all below them: the job's own tables.

    Raises:
        JobFileError: A pattern that is no glob.
    """

    def __init__(self, patterns: Sequence[str], own: Sequence[str] = ()) -> None:
        # A slash at the end alone says no more than that a folder is meant.
        ways = [one for one in patterns if "/" in one.rstrip("/")]
        self._names = _compiled([one.rstrip("/") for one in patterns if one not in ways])
        self._ways = _compiled([one.strip("/") for one in ways])
        self._own = tuple(f"{one}/" for one in own)
        # Objects lie together in folders, so the answer for a folder is asked for many times.
        self._leaves_folder = lru_cache(maxsize=4096)(self._leaves_way)

    @classmethod
    def of(cls, source: SourceSpec, own: Sequence[str] = ()) -> "Exclude":
        """What a job leaves out; `default` among its patterns stands for those that hold where it names none."""
        return cls(patterns(source), own)

    def leaves_out(self, below: str) -> bool:
        """Whether a way below the root, folders and name joined by slashes, is left out."""
        folder, slash, name = below.rpartition("/")
        if slash and self._leaves_folder(folder):
            return True
        return self.leaves_name(name) or bool(self._ways and self._ways.match(below.lower()))

    def leaves_name(self, name: str) -> bool:
        """Whether a name alone is left out, wherever it stands."""
        return bool(self._names and self._names.match(name.lower()))

    def is_own(self, uri: str) -> bool:
        """Whether an address lies in a table of the job."""
        return bool(self._own) and f"{uri}/".startswith(self._own)

    def _leaves_way(self, folder: str) -> bool:
        parts = folder.split("/")
        if any(self.leaves_name(part) for part in parts):
            return True
        ways = ("/".join(parts[:end]) for end in range(1, len(parts) + 1))
        return self._ways is not None and any(self._ways.match(way.lower()) for way in ways)


def patterns(source: SourceSpec) -> list[str]:
    """The patterns of a job, `default` replaced by what it stands for."""
    given = DEFAULT_EXCLUDE if source.exclude is None else source.exclude
    return [name for one in given for name in (DEFAULT_EXCLUDE if one == _DEFAULT else (one,))]


def _compiled(globs: Sequence[str]) -> re.Pattern[str] | None:
    if not globs:
        return None
    try:
        return re.compile("|".join(f"(?:{glob_translate(one.lower())})" for one in globs))
    except (ValueError, re.error):
        raise JobFileError(
            f"source.exclude holds a pattern that is no glob: {', '.join(globs)}.", "Correct it."
        ) from None
