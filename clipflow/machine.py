"""The machine: what its disks, limits and memory refuse, put into our words."""

import errno
import os
import re
import tempfile
from typing import NamedTuple

from clipflow.error_number import causes, error_number
from clipflow.errors import ClipflowError, MachineError, OutOfMemory, StorageUnavailable


class Trouble(NamedTuple):
    """What one number of an error means: in words, what helps, and whether trying again can."""

    words: str
    mend: str
    passes: bool = False


_PATH = "Check the path."
_WAIT = "Check the disk or mount, then try again."
_TROUBLES: dict[int, Trouble] = {
    errno.ENOSPC: Trouble("no space is left on the disk", "Free some space there, then try again.", True),
    errno.EDQUOT: Trouble("the disk quota is used up", "Free some space, or raise the quota, then try again.", True),
    errno.EROFS: Trouble("its file system is read-only", "Mount it for writing, or name another place."),
    errno.EFBIG: Trouble("a file would be larger than may be", "Raise `ulimit -f`, or use another file system."),
    errno.EACCES: Trouble("access was refused", "Check the path and the rights of this user."),
    errno.EPERM: Trouble("its file system, or the rights of this user, do not allow it", "Name another place."),
    errno.ENOENT: Trouble("it does not exist", _PATH),
    errno.EEXIST: Trouble("something else lies there, or a link that leads nowhere", _PATH),
    errno.ENOTDIR: Trouble("it, or a part of its path, is a file and no folder", _PATH),
    errno.EISDIR: Trouble("it is a folder", "Name a file."),
    errno.ELOOP: Trouble("its links lead in a circle", _PATH),
    errno.ENAMETOOLONG: Trouble("its path is too long", "Choose a shorter one."),
    errno.EXDEV: Trouble("its parts lie on different file systems", "Name a folder on one of them."),
    errno.EOPNOTSUPP: Trouble(
        "its file system lacks an operation that is needed, such as hard links", "Name a folder on another one."
    ),
    errno.ENOSYS: Trouble("its file system lacks an operation that is needed", "Name a folder on another one."),
    errno.ENXIO: Trouble("it is no file that can be read", _PATH),
    errno.EMFILE: Trouble("this process may not open more files", "Raise `ulimit -n`."),
    errno.ENFILE: Trouble("this machine may not open more files", "Close other programs, then try again.", True),
    errno.EIO: Trouble("the disk reports an error", _WAIT, True),
    errno.EBUSY: Trouble("it is in use", "Try again later.", True),
    errno.ETXTBSY: Trouble("it is in use", "Try again later.", True),
    errno.ESTALE: Trouble("its mount is gone", _WAIT, True),
    errno.ENOTCONN: Trouble("its mount is gone", _WAIT, True),
    errno.ENODEV: Trouble("its device is gone", _WAIT, True),
    errno.ENOLCK: Trouble("its file system gives no locks", _WAIT, True),
    errno.ETIMEDOUT: Trouble("it did not answer in time", _WAIT, True),
    errno.EHOSTDOWN: Trouble("its host does not answer", _WAIT, True),
}
_MEMORY = Trouble("memory ran out", "Give the process more memory, or close other programs, then try again.", True)
_ROOM = "Make room there or set TMPDIR to another folder, then try again."
# These are about what is written, whatever was being done.
_OPEN = frozenset({errno.EMFILE, errno.ENFILE})
_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
_NAMED = re.compile(r'"(/[^"]*)"|(?:operation on|create dir|open file) (/.*?): ')
_VARIABLES = ("TMPDIR", "TEMP", "TMP")
_SCRATCH = re.compile(r"/proc/self/fd/\d+(/|$)")


def trouble(number: int | None) -> Trouble | None:
    """What such a number means; None for one that says nothing to a user."""
    return _MEMORY if number == errno.ENOMEM else None if number is None else _TROUBLES.get(number)


def is_about_writing(number: int | None) -> bool:
    """Whether an error of this number can only come of writing."""
    return number in _WRITTEN


def temporary_folder() -> str:
    """Where temporary files go: the folder that TMPDIR names, else the system's.

    Where TMPDIR names a folder that is not there, Python takes another: who names one has a reason.

    Raises:
        MachineError: There is none.
    """
    if named := next((folder for name in _VARIABLES if (folder := os.environ.get(name))), None):
        return os.path.abspath(named)
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:
        raise MachineError(
            "No folder for temporary files can be written (/tmp, /var/tmp, /usr/tmp).", "Set TMPDIR to one that can."
        ) from None


def machine_error(error: BaseException, place: str | None = None) -> ClipflowError | None:
    """The error to raise for what is no defect but this machine's refusal; None for any other.

    Args:
        error: What was raised.
        place: The path it was about; None takes what the error names.

    Returns:
        MachineError (final), StorageUnavailable or OutOfMemory (retry).
    """
    number = error_number(error)
    if (found := trouble(number)) is None:
        return None
    if found is _MEMORY:
        return OutOfMemory(f"{_sentence(found.words)}.", found.mend)
    if number in _OPEN:
        return (StorageUnavailable if found.passes else MachineError)(f"{_sentence(found.words)}.", found.mend)
    place = place or next((name for one in causes(error) if (name := _place(one))), None)
    if place is None and number == errno.ENOENT and not _has_current_folder():
        return MachineError("The current folder does not exist any more.", "Change to one that does, with `cd`.")
    kind = StorageUnavailable if found.passes else MachineError
    doing = "write to" if is_about_writing(number) else "use"
    if place is not None and _is_temporary(place):
        return kind(
            f"Cannot {doing} the folder for temporary files {temporary_folder()}: {found.words}.",
            _ROOM
            if found.passes
            else found.mend
            if number == errno.EFBIG
            else "Set TMPDIR to a folder that can be written.",
        )
    if place is None:
        return kind(f"{_sentence(found.words)}.", found.mend)
    return kind(f"Cannot {doing} {place}: {found.words}.", found.mend)


def _place(error: BaseException) -> str | None:
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        return os.fsdecode(error.filename)
    found = _NAMED.search(str(error))
    return next(filter(None, found.groups())) if found else None


def _is_temporary(place: str) -> bool:
    folder = temporary_folder()
    return place == folder or place.startswith(f"{folder.rstrip('/')}/clipflow-") or bool(_SCRATCH.match(place))


def _has_current_folder() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]
