"""Writing to people and programs: what stdout or stderr refuses is said once, and is never a traceback."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from clipflow.errors import MachineError
from clipflow.machine import machine_error


def occupy_streams() -> None:
    """Open what of stdin, stdout and stderr is closed: else a file of the table would get its number, and its text."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, so it is this one.
            os.open(os.devnull, os.O_RDWR)


def write(text: str, stream: TextIO | None) -> None:
    """Write and flush; what the stream's encoding lacks is escaped.

    A reader that went away has what it wanted, and a closed stream is not wanted: neither is an error.

    Raises:
        MachineError, StorageUnavailable: The stream refused it.
    """
    if stream is None or stream.closed:
        return
    try:
        with _waiting(stream):
            try:
                stream.write(text)
            except UnicodeEncodeError:
                encoding = stream.encoding or "ascii"
                stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
    except BrokenPipeError:
        _divert(stream)
    except OSError as error:
        _divert(stream)
        name = {"<stdout>": "standard output", "<stderr>": "standard error"}.get(
            getattr(stream, "name", ""), "a stream"
        )
        ours = machine_error(error, name)
        raise ours or MachineError(f"Cannot write to {name} ({error.strerror}).", "Redirect it to a file.") from error


def one_line(text: str) -> str:
    """A sentence with what cannot be printed in its names escaped: control characters, and bytes that are no text."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


@contextmanager
def _waiting(stream: TextIO) -> Iterator[None]:
    """Whoever shares the stream may have set it not to wait for its reader; then a long text would be cut."""
    try:
        number = stream.fileno()
        waits = os.get_blocking(number)
    except (OSError, ValueError):
        yield
        return
    os.set_blocking(number, True)
    try:
        yield
    finally:
        os.set_blocking(number, waits)


def _divert(stream: TextIO) -> None:
    """What is left in its buffer goes nowhere: at the end of Python it would become a traceback."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
