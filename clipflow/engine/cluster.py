"""Joining a Ray cluster, or starting one that only this process and its children can reach."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from clipflow.errors import ClusterError

_QUIET = ("ray", "ray.data", "ray.serve")
# Ray binds to every interface unless it believes that it runs on a desktop.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}


@contextmanager
def cluster(engine: str) -> Iterator[None]:
    """Be connected to Ray for a while.

    Args:
        engine: `local` starts Ray here unless this process has one, anything else is what `ray.init` takes.

    Raises:
        ClusterError: The address does not answer.
    """
    for name, value in _LOOPBACK.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield
        return
    if engine == "local":
        start_local()
    else:
        try:
            ray.init(address=engine, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"The Ray cluster {engine} does not answer ({_first_line(error)}).",
                "Check the address, or use --ray local.",
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


def start_local(cpus: int | None = None) -> None:
    """Start a Ray of our own on loopback, without dashboard; it ends with this process or with `ray.shutdown`.

    Args:
        cpus: Logical CPUs; None takes those that this process may use.
    """
    for name, value in _LOOPBACK.items():
        os.environ.setdefault(name, value)
    import ray

    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
    # RAY_ADDRESS would turn this into joining.
    address = os.environ.pop("RAY_ADDRESS", None)
    try:
        ray.init(
            num_cpus=cpus or len(os.sched_getaffinity(0)),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _node_ip_address="127.0.0.1",
        )
    finally:
        if address is not None:
            os.environ["RAY_ADDRESS"] = address


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
