"""The graph of a run before it runs: where its stages will lie, as `plan` says it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipflow.assignment import Assignment
from clipflow.engine import choose, usable_cpus
from clipflow.engine.cluster import cluster
from clipflow.engine.layout import Layout, lay_out

_NVIDIA = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Graph:
    """Where a run's stages lie.

    Attributes:
        engine: `none`, `local` or an address.
        cpus, gpus: What there is to choose from.
        layout: The choice.
    """

    engine: str
    cpus: float
    gpus: float
    layout: Layout

    def document(self) -> dict[str, Any]:
        """As plain data, under `graph` in the JSON of `clipflow plan`."""
        return {
            "engine": self.engine,
            "cpus": self.cpus,
            "gpus": self.gpus,
            "encoders": list(self.layout.encoders),
            "gpus_per_encoder": self.layout.gpus,
            "preparers": self.layout.preparers,
            "layout": str(self.layout),
            "text": self.text(),
        }

    def text(self) -> str:
        """In one line."""
        if self.engine == "none":
            return f"graph: in this process, up to {self.layout.encoders[1]} lanes fetch, decode and embed; it commits"
        where = {"local": "on a Ray started here", "auto": "on this environment's Ray"}.get(
            self.engine, f"on Ray at {self.engine}"
        )
        return (
            f"graph: {where} ({self.cpus:g} CPUs, {self.gpus:g} GPUs), {self.layout}; tasks of a tenth of a CPU stage, "
            "the driver commits"
        )


def foresee(
    assignment: Assignment, ray: str | None, images: int, cpus: float | None = None, gpus: float | None = None
) -> Graph:
    """What `run` would choose.

    Args:
        ray: As for `run`.
        images: That need work.
        cpus, gpus: Of another machine or cluster; None looks: here, or by joining the cluster.

    Raises:
        ClusterError: The cluster does not answer, or is too small for what the job asks.
    """
    named = cpus is not None or gpus is not None
    # What is named need not be here, so nobody can be asked.
    engine = (ray or "local") if named else choose(ray, images)
    if engine not in ("none", "local") and not named:
        cpus, gpus = _resources(engine)
    cpus = cpus if cpus is not None else float(usable_cpus())
    gpus = gpus if gpus is not None else 0.0 if named else float(_gpus_here())
    if engine == "none":
        lanes = max(1, min(int(cpus), images))
        return Graph(engine, cpus, gpus, Layout(0.0, (lanes, lanes), 0))
    return Graph(engine, cpus, gpus, lay_out(assignment, cpus, gpus, images, ours=engine == "local" and not named))


def _resources(address: str) -> tuple[float, float]:
    with cluster(address):
        import ray

        found = ray.cluster_resources()
        return found.get("CPU", 1.0), found.get("GPU", 0.0)


def _gpus_here() -> int:
    """As NVIDIA's driver lists them; asking torch would take seconds."""
    return len(list(_NVIDIA.iterdir())) if _NVIDIA.is_dir() else 0
