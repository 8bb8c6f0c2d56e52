"""Files under a local folder."""

import errno
import os
import re
import stat
from collections.abc import Iterator

from clipflow.errors import SourceError
from clipflow.faults import storage_error
from clipflow.source.listing import Listed
from clipflow.uri import encode_name, local_path

Identity = tuple[int, int]


def exists(path: str) -> bool:
    """Whether a canonical path (percent-encoded where it is not UTF-8) leads to anything."""
    return os.path.exists(local_path(path))


def require(path: str) -> None:
    """Insist on a canonical path.

    Raises:
        SourceError: It leads to nothing.
    """
    if not exists(path):
        raise SourceError(f"The folder or file {path!r} does not exist.", "Check the spelling of source.uri.")


def state(path: str | bytes) -> tuple[str, int, int]:
    """ETag, size in bytes and modification time in microseconds since 1970 of a file.

    Raises:
        OSError: There is no such file.
    """
    return _state(os.stat(path))


def walk(root: str, pattern: re.Pattern[str] | None, *, folder_only: bool = False) -> Iterator[Listed]:
    """Every regular file under a folder, or the root itself when it is a file.

    Folders are read as a stream, and only the names of folders still to be read are held.

    Args:
        root: A canonical path.
        pattern: What a whole canonical path must match; None lists all.
        folder_only: The root was written with a slash at its end, so a file of that name does not count.

    Raises:
        SourceError: A folder may not be read.
        StorageUnavailable: The disk or mount failed.
    """
    top = os.fsdecode(local_path(root))
    try:
        found = _stat(top)
    except OSError as error:
        raise storage_error(error, f"file://{root}", "list") from error
    if found is None or (stat.S_ISREG(found.st_mode) and folder_only):
        return
    if stat.S_ISREG(found.st_mode):
        if pattern is None or pattern.match(root):
            yield _listed(top, found)
        return
    if not stat.S_ISDIR(found.st_mode):
        return
    real = os.path.realpath(top)
    # Each pending folder knows the folders above it, so that a link back to one of them ends there.
    pending: list[tuple[str, tuple[Identity, ...]]] = [(top, (_identity(found),))]
    while pending:
        folder, above = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    found = _inside(entry, real)
                    if found is None:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        if _identity(found) not in above:
                            pending.append((entry.path, (*above, _identity(found))))
                    elif stat.S_ISREG(found.st_mode) and (pattern is None or pattern.match(encode_name(entry.path))):
                        yield _listed(entry.path, found)
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone since its parent was read: as if it had never been there
        except OSError as error:
            raise storage_error(error, f"file://{encode_name(folder)}", "list") from error


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
    return Listed(f"file://{encode_name(path)}", etag, None, size, modified)
