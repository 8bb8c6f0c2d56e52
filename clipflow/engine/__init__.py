"""Where the stages run: in this process, or on Ray. The stages are the same."""

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator

from clipflow.assignment import Assignment
from clipflow.errors import ClusterError
from clipflow.subtract import Subtraction
from clipflow.table.stage import Receipt

log = logging.getLogger("clipflow")

SMALL = 5_000
"""Up to so many images the start of a cluster costs more than it gives."""

FRAGMENT_ROWS = 10_000
"""Rows of a fragment where there are enough of them."""

_ADDRESS = re.compile(r"(?:ray://)?([^:/]+|\[[^]]+\]):(\d+)")
_CONNECT_SECONDS = 5.0

Reached = Callable[[int], None]


def choose(ray: str | None, images: int) -> str:
    """`none`, `local` or an address: as asked, or by where we are and how much there is to do.

    Raises:
        ClusterError: Nothing listens at the address.
    """
    if ray is not None:
        check_address(ray)
        return ray
    if os.environ.get("RAY_ADDRESS"):
        log.info("engine: the Ray cluster of this environment (RAY_ADDRESS is set)")
        return "auto"
    chosen = "none" if images <= SMALL else "local"
    where = "in this process" if chosen == "none" else "on a Ray started here"
    log.info("engine: %d images run %s (--ray decides otherwise)", images, where)
    return chosen


def usable_cpus() -> int:
    """Cores that this process may use; not every system can say which."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_address(address: str) -> None:
    """Ray itself takes minutes to find out that nobody listens."""
    if (found := _ADDRESS.fullmatch(address)) is None:
        return
    try:
        socket.create_connection((found[1].strip("[]"), int(found[2])), _CONNECT_SECONDS).close()
    except OSError as error:
        raise ClusterError(
            f"Nothing listens at the Ray address {address} ({error.strerror or error}).",
            "Check the address, or use --ray local.",
        ) from None


def run_stages(engine: str, left: Subtraction, assignment: Assignment, reached: Reached) -> Iterator[Receipt]:
    """Fetch, decode, embed, score, judge and stage what is left; receipts come as they are ready.

    Args:
        engine: As `choose` gave it.
        reached: Called with the number of images embedded so far.
    """
    if engine == "none":
        from clipflow.engine.inline import run_inline

        return run_inline(left, assignment, reached)
    from clipflow.engine.ray import run_on_ray

    return run_on_ray(engine, left, assignment, reached)


def rows_per_fragment(assignment: Assignment) -> int:
    """Large fragments read well; smaller ones than a commit make no sense."""
    return min(assignment.spec.table.commit_rows, FRAGMENT_ROWS)
