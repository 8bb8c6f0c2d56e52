"""Where a Ray of ours keeps its sockets and logs: an address of a socket is short, and a folder's path may not be."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from clipflow.errors import MachineError
from clipflow.machine import machine_error, temporary_folder

# A socket's address has at most 103 bytes on some systems, and Ray puts as many as these behind its folder.
_LONGEST = 103 - len("/session_2026-11-28_09-04-32_100981_4194304/sockets/plasma_store.1")
_PLAIN = re.compile(r"[\w/.+@,=~-]+", re.ASCII)
_SHORT = "/tmp"


@contextmanager
def ray_folder() -> Iterator[str]:
    """A folder for Ray: where it would put it itself, or a link with a short and plain name that leads there.

    Raises:
        MachineError, StorageUnavailable: Neither can be made.
    """
    parent = os.environ.get("RAY_TMPDIR") or temporary_folder()
    folder = os.path.join(parent, "ray")
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise machine_error(error, parent) or error from error
    if len(os.fsencode(folder)) <= _LONGEST and _PLAIN.fullmatch(folder):
        yield folder
        return
    try:
        place = tempfile.mkdtemp(prefix="clipflow-ray-", dir=_SHORT)
    except OSError as error:
        raise MachineError(
            f"The folder for temporary files {parent} has a name too long or too odd for Ray's sockets.",
            "Set RAY_TMPDIR to a short folder, or use --ray none.",
        ) from error
    try:
        link = os.path.join(place, "r")
        os.symlink(folder, link)
        yield link
    finally:
        shutil.rmtree(place, ignore_errors=True)
