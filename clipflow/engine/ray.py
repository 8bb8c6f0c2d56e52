"""The stages on Ray Data.

Without GPUs one actor a core fetches, decodes and embeds, so that pixels never leave it. With GPUs CPU actors
fetch and decode, and uint8 pixels cross the object store to the GPU actors. Fragments are staged by tasks of a
tenth of a CPU, and nothing but receipts reaches the driver. Every operator asks for less than a whole CPU:
one that waits for a whole CPU which the encoders hold would wait for ever.
"""

import logging
import math
from collections.abc import Iterator
from typing import Any

from clipflow.assignment import Assignment
from clipflow.engine import Reached, rows_per_fragment
from clipflow.engine.actors import Counter, Embedding, Fused, Preparing, staging
from clipflow.engine.cluster import cluster
from clipflow.engine.layout import BLOCK_ROWS, Layout, lay_out
from clipflow.errors import ClipflowError, ClusterError, StageError
from clipflow.refusals import in_our_words
from clipflow.subtract import Subtraction
from clipflow.table.stage import Receipt

log = logging.getLogger("clipflow")

# One of each fits on a single CPU, with and without a GPU.
_CPUS_PER_ENCODER, _CPUS_PER_PREPARER = 0.85, 0.75
_CPUS_PER_STAGE = 0.1
_BLOCKS = 2_000


def run_on_ray(engine: str, left: Subtraction, assignment: Assignment, reached: Reached) -> Iterator[Receipt]:
    """See `engine.run_stages`."""
    with cluster(engine):
        import ray
        import ray.data

        resources = ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
        layout = lay_out(assignment, cpus, gpus, left.to_fetch, ours=engine == "local")
        log.info("engine: %s", layout)
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # Ray pickles the wrapped exception without its cause.
        context.raise_original_map_exception = True
        counter = ray.remote(num_cpus=0)(Counter).remote()
        try:
            results = _dataset(left, assignment, layout, counter)
            for row in _watched(results.iter_rows(), counter, reached):
                yield Receipt.from_row(row)
        except Exception as error:
            raise _ours(error) from error


def _dataset(left: Subtraction, assignment: Assignment, layout: Layout, counter: Any) -> Any:
    import ray
    import ray.data

    # Blocks are made here, at the source: repartitioning would ask for the CPUs that the encoders hold.
    # Enough of them to keep every encoder busy, and not so many that counting them takes minutes.
    rows = min(max(BLOCK_ROWS, left.to_fetch // _BLOCKS), math.ceil(left.to_fetch / (4 * layout.encoders[1])))
    blocks: Any = [ray.put(block) for block in left.work(rows)]
    dataset: Any = ray.data.from_arrow_refs(blocks)
    pool = ray.data.ActorPoolStrategy(min_size=layout.encoders[0], max_size=layout.encoders[1])
    if layout.gpus:
        dataset = dataset.map_batches(
            Preparing,
            fn_constructor_args=(assignment,),
            batch_format="pyarrow",
            batch_size=None,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=layout.preparers),
            num_cpus=_CPUS_PER_PREPARER,
        ).map_batches(
            Embedding,
            fn_constructor_args=(assignment, counter),
            batch_format="pyarrow",
            batch_size=2 * assignment.spec.compute.images_at_once(gpu=True),
            compute=pool,
            num_cpus=_CPUS_PER_STAGE,
            num_gpus=layout.gpus,
        )
    else:
        dataset = dataset.map_batches(
            Fused,
            fn_constructor_args=(assignment, counter),
            batch_format="pyarrow",
            batch_size=None,
            compute=pool,
            num_cpus=_CPUS_PER_ENCODER,
        )
    return dataset.map_batches(
        staging,
        fn_args=(assignment,),
        batch_format="pyarrow",
        batch_size=rows_per_fragment(assignment),
        num_cpus=_CPUS_PER_STAGE,
    )


def _watched(rows: Iterator[dict[str, Any]], counter: Any, reached: Reached) -> Iterator[dict[str, Any]]:
    """The rows, while a thread tells how far the actors are."""
    import threading

    import ray

    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            try:
                reached(ray.get(counter.total.remote(), timeout=5))
            except ray.exceptions.RayError:
                return

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield from rows
        reached(ray.get(counter.total.remote()))
    finally:
        ended.set()
        thread.join()


def _ours(error: BaseException) -> ClipflowError:
    """What a worker raised, dug out of Ray's wrappings."""
    import ray

    seen: BaseException = error
    while not isinstance(seen, ClipflowError):
        inner = getattr(seen, "cause", None)
        following = inner if isinstance(inner, BaseException) else seen.__cause__
        if following is None:
            break
        seen = following
    if (ours := in_our_words(seen)) is not None:
        return ours
    if isinstance(seen, ray.exceptions.RayTaskError):
        return StageError(f"A stage raised {str(error).strip().splitlines()[-1]}.", "This is a defect; report it.")
    if isinstance(seen, ray.exceptions.RayError):
        return ClusterError(f"Ray lost the job ({type(seen).__name__}).", "Run the job again.")
    return StageError(f"A stage raised {type(seen).__name__}: {seen}.", "This is a defect; report it.")
