"""Being ended: a signal becomes an exception, so that the operation closes its row and Ray its workers."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@contextmanager
def ending() -> Iterator[Callable[[], bool]]:
    """Run a block in which these signals raise KeyboardInterrupt; gives whether one came.

    It is asked because a library that is interrupted may raise what it likes. A signal that whoever started this
    process has it ignore, as `nohup` does, stays ignored.
    """
    came: list[int] = []

    def told(number: int, frame: object) -> NoReturn:
        came.append(number)
        raise KeyboardInterrupt

    before = {}
    # No other thread is told of signals.
    if threading.current_thread() is threading.main_thread():
        wanted = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, told) for number in wanted}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
