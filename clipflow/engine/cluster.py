"""Joining a Ray cluster, or starting one that only this process and its children can reach."""

import logging
import os
import secrets
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from clipflow.engine import check_address, usable_cpus
from clipflow.engine.sockets import ray_folder
from clipflow.errors import ClusterError, first_line
from clipflow.machine import machine_error

_QUIET = ("ray", "ray.data", "ray.serve")
_LOCAL = {
    # Ray binds to every interface unless it believes that it runs on a desktop.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "token",
    # Its C++ part warns on our stderr of things that nobody can mend.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}


@contextmanager
def cluster(engine: str) -> Iterator[None]:
    """Be connected to Ray for a while.

    Args:
        engine: `local` starts Ray here unless this process has one, anything else is what `ray.init` takes.

    Raises:
        ClusterError: The address does not answer.
    """
    if _is_connected():
        yield
        return
    with ExitStack() as folders:
        if engine == "local":
            _start(folders.enter_context(ray_folder()))
        else:
            _join(engine)
        try:
            yield
        finally:
            import ray

            ray.shutdown()


def _start(folder: str) -> None:
    try:
        start_local(folder=folder)
    except (OSError, RuntimeError, ValueError) as error:
        ours = machine_error(error)
        raise ours or ClusterError(
            f"Ray could not be started here ({first_line(error)}).", f"Look into {folder}, or use --ray none."
        ) from error


def _join(engine: str) -> None:
    check_address(engine)
    import ray

    try:
        with _own_signals():
            ray.init(address=engine, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise ClusterError(
            f"The Ray cluster {engine} does not answer ({first_line(error)}).",
            "Check the address, or use --ray local.",
        ) from error


def start_local(cpus: int | None = None, gpus: int | None = None, folder: str | None = None) -> None:
    """Start a Ray of our own on loopback, without dashboard; it ends with this process or with `ray.shutdown`.

    Args:
        cpus: Logical CPUs; None takes those that this process may use.
        gpus: Logical GPUs; None takes those that Ray finds.
        folder: Where Ray keeps sockets and logs; None is Ray's own choice.
    """
    # A token of our own: one that another Ray left in the home folder would lock our workers out.
    for name, value in {**_LOCAL, "RAY_AUTH_TOKEN": secrets.token_hex(32)}.items():
        os.environ.setdefault(name, value)
    import ray

    # The forked child at once becomes another program and never touches Lance.
    warnings.filterwarnings("ignore", message="lance is not fork-safe")
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    # RAY_ADDRESS would turn this into joining.
    address = os.environ.pop("RAY_ADDRESS", None)
    try:
        with _own_signals():
            ray.init(
                num_cpus=cpus or usable_cpus(),
                num_gpus=gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
    finally:
        if address is not None:
            os.environ["RAY_ADDRESS"] = address


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray has SIGTERM end the driver at once; whoever started the operation has it closed in order."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:
        if error.code != signal.SIGTERM:
            raise
        raise KeyboardInterrupt from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _is_connected() -> bool:
    # Ray reads its environment when it is imported, so it is not imported just to ask.
    module = sys.modules.get("ray")
    return module is not None and bool(module.is_initialized())
