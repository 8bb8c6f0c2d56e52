"""The number of the operating system's error behind an exception: Python keeps it, others write it, or its words."""

import errno
import os
import re
from collections.abc import Iterator

_CLEAR = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EFBIG,
    errno.EMFILE,
    errno.ENFILE,
    errno.EIO,
    errno.ENOMEM,
)
_NUMBER = re.compile(r'\(os error (\d+)\)|\[[Ee]rrno (\d+)\]|"errno":"(\d+)"|Os \{ code: (\d+)')
# Where no number stands: unlike the others these words mean the same in any text.
_SAID = {
    **{os.strerror(number): number for number in _CLEAR},
    "max_temp_directory_size": errno.ENOSPC,
    "can't allocate memory": errno.ENOMEM,
    "bad_alloc": errno.ENOMEM,
}
# Some libraries raise them with nothing but a path.
_BARE: dict[type[OSError], int] = {
    FileNotFoundError: errno.ENOENT,
    FileExistsError: errno.EEXIST,
    PermissionError: errno.EACCES,
    NotADirectoryError: errno.ENOTDIR,
    IsADirectoryError: errno.EISDIR,
    TimeoutError: errno.ETIMEDOUT,
}
# Names of exceptions and of their bases: Python's, Arrow's, torch's, DuckDB's and Ray's.
_NAMES = {
    "MemoryError": errno.ENOMEM,
    "OutOfMemoryError": errno.ENOMEM,
    "OutOfMemoryException": errno.ENOMEM,
    "ObjectStoreFullError": errno.ENOMEM,
    "OutOfDiskError": errno.ENOSPC,
}


def error_number(error: BaseException) -> int | None:
    """The number of the operating system's error behind an exception, wherever it stands; ENOMEM when memory ran out.

    Causes are asked first: a library often wraps the precise error in a vague one.
    """
    numbers = [number for one in causes(error) if (number := _number(one)) is not None]
    return numbers[-1] if numbers else None


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what caused it, what caused that."""
    seen: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in seen:
        seen.append(at)
        yield at
        at = at.__cause__


def _number(error: BaseException) -> int | None:
    names = [known.__name__ for known in type(error).__mro__ if known.__name__ in _NAMES]
    if names:
        return errno.ENOSPC if "max_temp_directory_size" in str(error) else _NAMES[names[0]]
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if (bare := next((number for kind, number in _BARE.items() if isinstance(error, kind)), None)) is not None:
        return bare
    text = str(error)
    if (found := _NUMBER.search(text)) is not None:
        return int(next(filter(None, found.groups())))
    return next((number for words, number in _SAID.items() if words in text), None)
