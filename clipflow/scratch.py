"""Scratch: a folder for temporary files, under a name that every library takes."""

import os
import re
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from clipflow.error_number import error_number
from clipflow.errors import ClipflowError, MachineError
from clipflow.machine import is_about_writing, machine_error, temporary_folder

_PLAIN = re.compile(r"[\w/.+@,=~ -]+", re.ASCII)


class Scratch:
    """A folder that lives as long as this object. A context manager.

    DuckDB and Arrow take a path as SQL, as a URL or as UTF-8: a quote, a `?` or an odd byte in TMPDIR would break
    them. A folder with such a name is shown to them as an open file of this process.

    Args:
        prefix: What its name begins with.

    Attributes:
        path: Where it lies, in plain characters; only for this process.

    Raises:
        MachineError: There is no folder for temporary files, or it cannot be written.
        StorageUnavailable: Its disk is full, or does not answer.
    """

    def __init__(self, prefix: str = "clipflow-") -> None:
        parent = temporary_folder()
        try:
            self._folder = tempfile.TemporaryDirectory(prefix=prefix, dir=parent)
        except OSError as error:
            raise machine_error(error, parent) or error from error
        self.path = Path(self._folder.name)
        self._close: Callable[[], object] | None = None
        if not _PLAIN.fullmatch(self._folder.name):
            number = os.open(self._folder.name, os.O_RDONLY | os.O_DIRECTORY)
            self._close = weakref.finalize(self, os.close, number)
            self.path = Path(f"/proc/self/fd/{number}")
            if not self.path.is_dir():
                self.cleanup()
                raise MachineError(
                    f"The folder for temporary files {parent!r} has a name that not every library takes.",
                    "Set TMPDIR to a folder of letters and digits.",
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.cleanup()

    def cleanup(self) -> None:
        """Remove it, with all that lies in it; once is enough."""
        self._folder.cleanup()
        if self._close is not None:
            self._close()


def scratch_refused(error: BaseException) -> ClipflowError | None:
    """The error to raise where nothing but scratch was being written: what a full disk raises may name no path."""
    if isinstance(error, ClipflowError) or not is_about_writing(error_number(error)):
        return None
    return machine_error(error, temporary_folder())
