"""The stages on Ray Data.

Without GPUs one actor a core fetches, decodes and embeds, so that pixels never leave it. With GPUs CPU actors
fetch and decode, and uint8 pixels cross the object store to the GPU actors. Fragments are staged by tasks of a
tenth of a CPU, and nothing but receipts reaches the driver. Every operator asks for less than a whole CPU:
one that waits for a whole CPU which the encoders hold would wait for ever.
"""

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from clipflow.assignment import Assignment
from clipflow.engine import Reached, rows_per_fragment
from clipflow.engine.cluster import cluster
from clipflow.errors import ClipflowError, ClusterError, StageError
from clipflow.subtract import Subtraction
from clipflow.table.stage import Receipt

log = logging.getLogger("clipflow")

_CPUS_PER_ENCODER = 0.85
_CPUS_PER_STAGE = 0.1
_BLOCK_ROWS = 500
_CPU_BATCH, _GPU_BATCH = 64, 256


@dataclass(frozen=True)
class Layout:
    """How a job lies on a cluster.

    Attributes:
        gpus: Per encoder; 0 is the fused layout.
        encoders: Actors that embed, at least and at most.
        preparers: Actors that fetch and decode for GPUs, at most; 0 when fused.
    """

    gpus: float
    encoders: tuple[int, int]
    preparers: int


def lay_out(assignment: Assignment, cpus: float, gpus: float, images: int, *, ours: bool) -> Layout:
    """Choose by what the cluster has and the job asks.

    Args:
        ours: We started the cluster and it will not grow: a job that asks for GPUs runs without when there are none.

    Raises:
        ClusterError: The cluster is too small for what the job asks.
    """
    compute = assignment.spec.compute
    per_encoder = compute.gpus_per_encoder
    if per_encoder is None:
        per_encoder = 1.0 if gpus >= 1 else 0.0
    elif per_encoder and ours and not gpus:
        log.warning("engine: no GPU here, compute.gpus_per_encoder %g is taken as 0", per_encoder)
        per_encoder = 0.0
    room = math.floor(gpus / per_encoder) if per_encoder else math.floor(cpus)
    worth = max(1, math.ceil(images / _BLOCK_ROWS))
    least, most = compute.encoders or (1, max(1, min(room, worth)))
    if not per_encoder and least > max(1, room):
        raise ClusterError(
            f"The job asks for at least {least} encoders, and the cluster has {cpus:g} CPUs.", "Lower compute.encoders."
        )
    if not per_encoder:
        most = min(most, max(1, room))
    return Layout(per_encoder, (least, most), max(1, math.floor(cpus) - 1) if per_encoder else 0)


class Actor:
    """A stage made on its first batch: what fails there reaches the driver as it is, not as a dead actor.

    Args:
        counter: Told how many images were embedded; None where none are.
    """

    def __init__(self, assignment: Assignment, counter: Any = None) -> None:
        self._given, self._counter = assignment, counter
        self._stage: Callable[[pa.Table], pa.Table] | None = None

    def make(self) -> Callable[[pa.Table], pa.Table]:
        """The stage."""
        raise NotImplementedError

    def __call__(self, rows: pa.Table) -> pa.Table:
        """A batch in, a batch out."""
        if self._stage is None:
            self._stage = self.make()
        done = self._stage(rows)
        if self._counter is not None:
            self._counter.add.remote(len(done))
        return done


class Fused(Actor):
    """fetch ▸ decode ▸ embed ▸ score ▸ judge in one actor."""

    def make(self) -> Callable[[pa.Table], pa.Table]:
        """Prepare, then embed."""
        from clipflow.stages import Embed, Prepare

        prepare, embed = Prepare(self._given), Embed(self._given, "cpu")
        return lambda work: embed(prepare(work))


class Preparing(Actor):
    """fetch ▸ decode."""

    def make(self) -> Callable[[pa.Table], pa.Table]:
        """Work in, rows with uint8 pixels out."""
        from clipflow.stages import Prepare

        return Prepare(self._given)


class Embedding(Actor):
    """embed ▸ score ▸ judge on a GPU (not measured here: tested with logical GPUs, which compute on the CPU)."""

    def make(self) -> Callable[[pa.Table], pa.Table]:
        """Rows with pixels in, judged rows out."""
        from clipflow.stages import Embed

        return Embed(self._given)


def staging(rows: pa.Table, assignment: Assignment) -> pa.Table:
    """Stage."""
    from clipflow.stages import Stage

    return Stage(assignment)(rows)


class Counter:
    """Images embedded so far, by all actors."""

    def __init__(self) -> None:
        self._images = 0

    def add(self, images: int) -> None:
        """Count."""
        self._images += images

    def total(self) -> int:
        """The sum."""
        return self._images


def run_on_ray(engine: str, left: Subtraction, assignment: Assignment, reached: Reached) -> Iterator[Receipt]:
    """See `engine.run_stages`."""
    with cluster(engine):
        import ray
        import ray.data

        resources = ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 1.0), resources.get("GPU", 0.0)
        layout = lay_out(assignment, cpus, gpus, left.to_fetch, ours=engine == "local")
        log.info("engine: %s", _shown(layout))
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
    rows = max(1, min(_BLOCK_ROWS, math.ceil(left.to_fetch / (4 * layout.encoders[1]))))
    dataset = ray.data.from_arrow_refs([ray.put(block) for block in left.work(rows)])
    pool = ray.data.ActorPoolStrategy(min_size=layout.encoders[0], max_size=layout.encoders[1])
    if layout.gpus:
        dataset = dataset.map_batches(
            Preparing,
            fn_constructor_args=(assignment,),
            batch_format="pyarrow",
            batch_size=_CPU_BATCH,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=layout.preparers),
            num_cpus=_CPUS_PER_ENCODER,
        ).map_batches(
            Embedding,
            fn_constructor_args=(assignment, counter),
            batch_format="pyarrow",
            batch_size=_GPU_BATCH,
            compute=pool,
            num_cpus=_CPUS_PER_STAGE,
            num_gpus=layout.gpus,
        )
    else:
        dataset = dataset.map_batches(
            Fused,
            fn_constructor_args=(assignment, counter),
            batch_format="pyarrow",
            batch_size=_CPU_BATCH,
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


def _shown(layout: Layout) -> str:
    least, most = layout.encoders
    many = f"{least}" if least == most else f"{least} to {most}"
    if layout.gpus:
        return f"{many} encoders of {layout.gpus:g} GPU, up to {layout.preparers} CPU actors fetch and decode"
    return f"{many} CPU actors fetch, decode and embed"


def _ours(error: BaseException) -> ClipflowError:
    """What a worker raised, dug out of Ray's wrappings."""
    import ray

    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ClipflowError):
            return seen
        inner = getattr(seen, "cause", None)
        following = inner if isinstance(inner, BaseException) else seen.__cause__
        if following is None and isinstance(seen, ray.exceptions.RayError):
            if isinstance(seen, ray.exceptions.RayTaskError):
                break
            return ClusterError(f"Ray lost the job ({type(seen).__name__}).", "Run the job again.")
        if following is None:
            return StageError(f"A stage raised {type(seen).__name__}: {seen}.", "This is a defect; report it.")
        seen = following
    return StageError(f"A stage raised {str(error).strip().splitlines()[-1]}.", "This is a defect; report it.")
