"""Being ended: a signal becomes an exception, so that the operation closes its row and Ray its workers."""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Whoever ends a group of processes may tell each of them twice; whoever tells again later means now.
_CLOSING_SECONDS = 5.0


@contextmanager
def ending() -> Iterator[Callable[[], bool]]:
    """Run a block in which these signals raise KeyboardInterrupt; gives whether one came.

    It is asked because a library that is interrupted may raise what it likes. A signal that whoever started this
    process has it ignore, as `nohup` does, stays ignored.
    """
    came: list[float] = []
    over = threading.Event()

    def told(number: int, frame: object) -> None:
        if came and time.monotonic() - came[0] < _CLOSING_SECONDS:
            return
        came.append(time.monotonic())
        raise KeyboardInterrupt

    def again() -> None:
        if not over.wait(0.1):
            os.kill(os.getpid(), signal.SIGTERM)

    def unraisable(fault: Any) -> None:
        if not isinstance(fault.exc_value, KeyboardInterrupt):
            former(fault)
        elif len(came) == 1:
            # It was raised where Python lets nothing out, and is lost: once more, from elsewhere.
            came.clear()
            _thread.start_new_thread(again, ())

    # No other thread is told of signals.
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    former = sys.unraisablehook
    wanted = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, told) for number in wanted}
    sys.unraisablehook = unraisable
    try:
        yield lambda: bool(came)
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = former
