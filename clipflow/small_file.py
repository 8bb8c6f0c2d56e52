"""Small files that a user names: a job, a policy, a head, a list. Pipes may stand for them; what never ends may not."""

import errno
import os
import stat
import sys
import time

MOST = 2**26
"""Bytes of the largest, a head."""

_PATIENCE_SECONDS = 5.0


def read_small(path: str | bytes | os.PathLike[str], most: int = MOST) -> bytes:
    """The bytes of a file of at most so many.

    Raises:
        OSError: It cannot be read; EFBIG when it is larger than such a file is, or has no end, ETIMEDOUT when it is a
            pipe that nobody writes to.
    """
    # Waiting in open() for somebody to write could not be ended.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(number, "rb", buffering=0) as file:
        if stat.S_ISFIFO(os.fstat(number).st_mode):
            return _of_pipe(number, path, most)
        os.set_blocking(number, True)
        data = bytearray()
        while len(data) <= most and (part := file.read(most + 1 - len(data))):
            data += part
    return _bounded(data, path, most)


def read_standard_input() -> bytes:
    """What standard input holds, to its end.

    Raises:
        OSError: It is closed, or holds more than such a file does.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise OSError(errno.EBADF, "it is closed", "standard input")
    return _bounded(sys.stdin.buffer.read(MOST + 1), "standard input", MOST)


def _of_pipe(number: int, path: object, most: int) -> bytes:
    data = bytearray()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(data) <= most:
        try:
            part = os.read(number, 2**16)
        except BlockingIOError:
            # Somebody is at it, and takes the time that it takes.
            os.set_blocking(number, True)
            continue
        data += part
        if not part and (data or time.monotonic() > deadline):
            break
        if not part:
            time.sleep(0.02)
    if not data:
        raise OSError(errno.ETIMEDOUT, "nobody writes to this pipe", path)
    return _bounded(data, path, most)


def _bounded(data: bytes | bytearray, path: object, most: int) -> bytes:
    if len(data) > most:
        raise OSError(errno.EFBIG, f"it holds more than {most // 2**20} MB", path)
    return bytes(data)
