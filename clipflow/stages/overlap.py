"""Waiting for bytes behind computing: while batches are embedded, the next ones are fetched, so many bytes at a time.

What a process holds is bounded: of each lane two batches and of all lanes one more, each of at most `BATCH_ROWS`
images and `BATCH_BYTES` of files, or of a single larger file; and one decoded image a lane. See docs/speed.md.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc

from clipflow.stages.prepare import Fetched, Prepare
from clipflow.subtract import REFRESH

BATCH_ROWS = 64
BATCH_BYTES = 32_000_000
_UNKNOWN_BYTES = 1_000_000


def batches(work: Iterable[pa.Table], rows: int = BATCH_ROWS, most: int = BATCH_BYTES) -> Iterator[pa.Table]:
    """Work in batches of at most so many rows, and bytes to fetch; a larger file has a batch of its own.

    Sizes are those that were listed; a file of unknown size counts as a megabyte.
    """
    for table in work:
        sizes = pc.if_else(
            pc.not_equal(table.column("action"), REFRESH), table.column("source_size").fill_null(_UNKNOWN_BYTES), 0
        )
        begin = held = 0
        for at, size in enumerate(sizes.to_pylist()):
            if at > begin and (at - begin == rows or held + size > most):
                yield table.slice(begin, at - begin)
                begin, held = at, 0
            held += size
        if begin < len(table):
            yield table.slice(begin)


def overlapped(
    work: Iterable[pa.Table], prepare: Prepare, following: Callable[[pa.Table], pa.Table], lanes: int
) -> Iterator[pa.Table]:
    """Fetch batches, decode them and hand them to what follows; results come in the order of the work.

    Args:
        work: Batches, see `batches`.
        following: What is done to decoded rows.
        lanes: Threads that decode and go on; as many more fetch.
    """

    def compute(fetched: Future[Fetched]) -> pa.Table:
        return following(prepare.decode(fetched.result()))

    pending: deque[Future[pa.Table]] = deque()
    fetchers, workers = ThreadPoolExecutor(lanes, "fetch"), ThreadPoolExecutor(lanes, "lane")
    try:
        for batch in work:
            pending.append(workers.submit(compute, fetchers.submit(prepare.fetch, batch)))
            if len(pending) > 2 * lanes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # A lane that waits for a fetch which will not begin ends with it.
        workers.shutdown(wait=False, cancel_futures=True)
        fetchers.shutdown(cancel_futures=True)
        workers.shutdown()
