"""Which process an operation runs in, so that another one on the same host can tell at once that it died."""

import os
from pathlib import Path

_PROC = Path("/proc")


def this_process() -> str | None:
    """Boot, process namespace, process id and start, joined by `/`; None where the system does not say.

    The boot's id stands for the host: it is random, and names neither the machine nor its owner.
    """
    try:
        return f"{_host()}/{os.getpid()}/{_started(os.getpid())}"
    except OSError:
        return None


def is_gone(process: str | None) -> bool:
    """Whether a process of this host has ended; False for one that cannot be seen from here."""
    host, _, rest = (process or "").rpartition("/")
    host, _, number = host.rpartition("/")
    try:
        if not host or host != _host():
            return False
    except OSError:
        return False
    try:
        return _started(int(number)) != rest
    except OSError:
        return True


def same_host(process: str | None) -> bool:
    """Whether a process runs, or ran, on this host as it is booted now."""
    try:
        return bool(process) and str(process).rsplit("/", 2)[0] == _host()
    except OSError:
        return False


def _host() -> str:
    boot = (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
    return f"{boot}/{os.stat(_PROC / 'self/ns/pid').st_ino}"


def _started(number: int) -> str:
    """Clock ticks since boot; a zombie has ended."""
    # The command's name, in parentheses, may hold anything.
    fields = (_PROC / str(number) / "stat").read_bytes().rpartition(b")")[2].split()
    return "ended" if fields[0] in (b"Z", b"X") else fields[19].decode()
