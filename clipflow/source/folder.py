"""Files under a local folder."""

import errno
import logging
import os
import re
import stat
import unicodedata
from collections.abc import Iterator

from clipflow.errors import SourceError
from clipflow.faults import storage_error
from clipflow.source.exclude import Exclude
from clipflow.source.listing import Listed, Notes
from clipflow.uri import file_address, local_path, shown, spellings

log = logging.getLogger("clipflow")

Identity = tuple[int, int]


def find(uri: str) -> str | None:
    """The address of what a `file://` address leads to: itself, or the only other spelling of it that leads somewhere.

    None where nothing is there, and where several others are: which was meant then cannot be told.
    """
    if os.path.lexists(local_path(uri)):
        return uri
    found = {there for one in spellings(uri) if (there := _by_parts(one)) is not None}
    return found.pop() if len(found) == 1 else None


def require(uri: str, written: str = "") -> str:
    """The address of what is there, see `find`.

    Args:
        written: As the job has it: with a slash at its end a folder is meant.

    Raises:
        SourceError: It leads to nothing.
    """
    found = find(uri)
    there = os.path.isdir if written.endswith("/") else os.path.exists
    if found is None or not there(local_path(found)):
        raise SourceError(
            f"The folder or file {shown(uri.removeprefix('file://'))!r} does not exist.",
            "Check the spelling of source.uri.",
        )
    return found


def state(path: str | bytes) -> tuple[str, int, int]:
    """ETag, size in bytes and modification time in microseconds since 1970 of a file.

    Raises:
        OSError: There is no such file.
    """
    return _state(os.stat(path))


def walk(root: str, pattern: re.Pattern[str] | None, exclude: Exclude, notes: Notes) -> Iterator[Listed]:
    """Every regular file under a folder, or the root itself when it is a file.

    Folders are read as a stream, and only the names of folders still to be read are held. A folder below the root that
    may not be read is noted, and the rest is listed.

    Args:
        root: A `file://` address.
        pattern: What the way below the root must match; None lists all.
        exclude: What is left out below the root.
        notes: Takes what was left out.

    Raises:
        SourceError: The root may not be read.
        StorageUnavailable: The disk or mount failed.
    """
    top = os.fsdecode(local_path(root))
    try:
        found = _stat(top)
    except OSError as error:
        raise storage_error(error, root, "list") from error
    if found is None:
        # It was there a moment ago: what goes away while it is listed has not been listed.
        raise storage_error(FileNotFoundError(top), root, "list")
    if stat.S_ISREG(found.st_mode):
        if pattern is None:
            yield _listed(top, found)
        return
    if not stat.S_ISDIR(found.st_mode):
        return
    real = os.path.realpath(top)
    start = len(top.rstrip("/")) + 1
    # Each pending folder knows the folders above it, so that a link back to one of them ends there.
    pending: list[tuple[str, tuple[Identity, ...]]] = [(top, (_identity(found),))]
    while pending:
        folder, above = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if exclude.leaves_out(entry.path[start:]) or exclude.is_own(file_address(entry.path)):
                        notes.excluded += 1
                        continue
                    try:
                        found = _inside(entry, real)
                    except PermissionError:
                        # A link into a folder that may not be read.
                        _note_unreadable(notes, entry.path)
                        continue
                    if found is None:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        if _identity(found) not in above:
                            pending.append((entry.path, (*above, _identity(found))))
                    elif stat.S_ISREG(found.st_mode) and (pattern is None or pattern.match(entry.path[start:])):
                        yield _listed(entry.path, found)
        except (FileNotFoundError, NotADirectoryError) as error:
            if folder == top:
                raise storage_error(error, root, "list") from error
            continue  # gone since its parent was read: as if it had never been there
        except OSError as error:
            if not isinstance(error, PermissionError) or folder == top:
                raise storage_error(error, file_address(folder), "list") from error
            _note_unreadable(notes, folder)


def _note_unreadable(notes: Notes, path: str) -> None:
    notes.excluded += 1
    notes.unreadable.append(f"{file_address(path)}/")
    log.warning("list: %s may not be read; rows of what lies there stay as they are", shown(path))


def _inside(entry: os.DirEntry[str], root: str) -> os.stat_result | None:
    """What an entry is, links followed; None when it is gone or lies outside the root."""
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if os.path.commonpath((target, root)) != root:
            return None
        return _stat(entry.path)
    return _stat(entry)


def _stat(path: str | os.DirEntry[str]) -> os.stat_result | None:
    try:
        return os.stat(path) if isinstance(path, str) else path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino


def _state(found: os.stat_result) -> tuple[str, int, int]:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}", found.st_size, found.st_mtime_ns // 1000


def _listed(path: str, found: os.stat_result) -> Listed:
    etag, size, modified = _state(found)
    return Listed(file_address(path), etag, None, size, modified, changed=found.st_ctime_ns // 1000)


def _by_parts(uri: str) -> str | None:
    """The address with each name of its path composed or decomposed as it is there; None where one is not."""
    found = "/"
    for part in os.fsdecode(local_path(uri)).split("/")[1:]:
        names = [part] if part.isascii() or os.path.lexists(os.path.join(found, part)) else _forms(part)
        there = [name for name in names if os.path.lexists(os.path.join(found, name))]
        if len(there) != 1:
            return None
        found = os.path.join(found, there[0])
    return file_address(found)


def _forms(name: str) -> list[str]:
    return list(dict.fromkeys(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))
