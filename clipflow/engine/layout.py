"""How a job lies on a cluster: how many encoders, on what, and who decodes for them."""

import logging
import math
from dataclasses import dataclass

from clipflow.assignment import Assignment
from clipflow.errors import ClusterError

log = logging.getLogger("clipflow")

BLOCK_ROWS = 500


@dataclass(frozen=True)
class Layout:
    """The choice.

    Attributes:
        gpus: Per encoder; 0 is the fused layout.
        encoders: Actors that embed, at least and at most.
        preparers: Actors that fetch and decode for GPUs, at most; 0 when fused.
    """

    gpus: float
    encoders: tuple[int, int]
    preparers: int

    def __str__(self) -> str:
        least, most = self.encoders
        many = f"{least}" if least == most else f"{least} to {most}"
        if self.gpus:
            return (
                f"up to {self.preparers} CPU actors fetch and decode, uint8 pixels cross to {many} encoders of "
                f"{self.gpus:g} GPU"
            )
        return f"{many} CPU actors fetch, decode and embed"


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
        per_encoder = 1.0 if gpus >= 1 and compute.backend == "torch" else 0.0
    elif per_encoder and ours and not gpus:
        log.warning("engine: no GPU here, compute.gpus_per_encoder %g is taken as 0", per_encoder)
        per_encoder = 0.0
    room = math.floor(gpus / per_encoder) if per_encoder else math.floor(cpus)
    worth = max(1, math.ceil(images / BLOCK_ROWS))
    least, most = compute.encoders or (1, max(1, min(room, worth)))
    if not per_encoder and least > max(1, room):
        raise ClusterError(
            f"The job asks for at least {least} encoders, and the cluster has {cpus:g} CPUs.", "Lower compute.encoders."
        )
    if not per_encoder:
        most = min(most, max(1, room))
    return Layout(per_encoder, (least, most), max(1, math.floor(cpus) - 1) if per_encoder else 0)
