"""Small files that a user names: a job, a policy, a head, a list. Pipes may stand for them; what never ends may not."""

import errno
import os
import stat
import sys
import time

MOST = 2**26
"""Bytes of the largest, a head."""

_PATIENCE_SECONDS = 5.0


def read_small(path: str | bytes | os.PathLike[str]) -> bytes:
    """The bytes of a file.

    Raises:
        OSError: It cannot be read; EFBIG when it is larger than such a file is, or has no end, ETIMEDOUT when it is a
            pipe that nobody writes to.
    """
    # Waiting in open() for somebody to write could not be ended.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(number, "rb", buffering=0) as file:
        if stat.S_ISFIFO(os.fstat(number).st_mode):
            return _of_pipe(number, path)
        os.set_blocking(number, True)
        data = bytearray()
        while (part := file.read(MOST + 1 - len(data))) and len(data) <= MOST:
            data += part
    return _bounded(bytes(data), path)


def read_standard_input() -> bytes:
    """What standard input holds, to its end.

    Raises:
        OSError: It is closed, or holds more than such a file does.
    """
    if sys.stdin is None or sys.stdin.closed:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard input")
    return _bounded(sys.stdin.buffer.read(MOST + 1), "standard input")


def _of_pipe(number: int, path: object) -> bytes:
    data = bytearray()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(data) <= MOST:
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
    return _bounded(bytes(data), path)


def _bounded(data: bytes, path: object) -> bytes:
    if len(data) > MOST:
        raise OSError(errno.EFBIG, f"it holds more than {MOST // 2**20} MB", path)
    return data
