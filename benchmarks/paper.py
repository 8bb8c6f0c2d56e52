"""Scale on paper: the tables of docs/scale.md, by the arithmetic of `clipflow plan --estimate`.

python -m benchmarks.paper
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tabulate import tabulate

from clipflow.estimate.prediction import Estimate, Work, Workers, predict
from clipflow.estimate.rates import Rate

SUBTRACTED_PER_SECOND = 80_000
_HERE = "measured 2026-11-26, docs/scale.md"
_LAION = "assumption, not measured here: LAION-5B's authors, one A100"
_S3 = "assumption, not measured here: AWS, 5,500 GETs/s a prefix"


class Model(NamedTuple):
    """An encoder on paper: length of its vectors, and images per second on one GPU."""

    name: str
    dim: int
    per_gpu: float


BASE, LARGE = Model("ViT-B/32", 512, 1_800), Model("ViT-L/14", 768, 312)


@dataclass(frozen=True)
class Scenario:
    """Images of 640 x 480, all new, from a manifest that says no sizes.

    Attributes:
        prefixes: Over which the store spreads them.
        tables: Into which they go, each by runs of its own.
    """

    images: int
    model: Model
    workers: Workers
    prefixes: int = 1
    tables: int = 1

    def estimate(self) -> Estimate:
        """Of all its tables together, one after the other."""
        work = Work(
            listed=self.images,
            rows=self.images,
            gets=self.images,
            sized_bytes=0,
            unsized=self.images,
            list_seconds=self.images / SUBTRACTED_PER_SECOND,
            dim=self.model.dim,
            commit_rows=50_000,
        )
        rates = {
            "images_per_second_per_worker": Rate(31, _HERE),
            "prepared_per_second_per_cpu": Rate(150, _HERE),
            "images_per_second_per_gpu_encoder": Rate(self.model.per_gpu, _LAION),
            "gets_per_second": Rate(5_500 * self.prefixes, _S3),
            "bytes_per_image": Rate(70_000, _HERE),
            # 272 bytes beside a float16 vector.
            "bytes_per_row": Rate(272 + 2 * self.model.dim, _HERE),
        }
        return predict(work, self.workers, rates)


SCENARIOS = (
    Scenario(1_000_000, BASE, Workers(16)),
    Scenario(1_000_000, BASE, Workers(1, 1, 12)),
    Scenario(100_000_000, BASE, Workers(256), prefixes=2),
    Scenario(100_000_000, BASE, Workers(8, 1, 96), prefixes=4),
    Scenario(100_000_000, LARGE, Workers(8, 1, 17), prefixes=1),
    Scenario(5_850_000_000, BASE, Workers(32, 1, 384), prefixes=16, tables=59),
    Scenario(5_850_000_000, LARGE, Workers(32, 1, 67), prefixes=4, tables=59),
)


def tables() -> list[str]:
    """The three tables, in GitHub's form."""
    costs = [(scenario, scenario.estimate()) for scenario in SCENARIOS]
    names = [f"{_short(scenario.images)}, {scenario.model.name}, {_who(scenario.workers)}" for scenario in SCENARIOS]
    clock = [
        (name, _hours(cost.hours), _hours(cost.gpu_hours), _hours(cost.cpu_hours), cost.limit)
        for name, (_, cost) in zip(names, costs, strict=True)
    ]
    steps = [
        (name, *(_hours(cost.seconds.get(step, 0) / 3600) for step in _STEPS))
        for name, (_, cost) in zip(names, costs, strict=True)
    ]
    seen = {(scenario.images, scenario.model): (scenario, cost) for scenario, cost in costs}
    amounts = [
        (
            f"{_short(scenario.images)}, {scenario.model.name}",
            scenario.tables,
            f"{cost.gets:,}",
            f"{cost.lists:,}",
            _bytes(cost.bytes),
            _bytes(cost.table_bytes),
            _bytes(cost.index_bytes),
            f"{cost.commits:,}",
        )
        for scenario, cost in seen.values()
    ]
    heads = (
        ("images, encoder, workers", "hours", "GPU-hours", "CPU-hours", "limited by"),
        ("hours if nothing else took time", *_STEPS),
        ("images, encoder", "tables", "GETs", "LISTs if listed", "to fetch", "data", "indexes", "commits"),
    )
    bodies: tuple[Iterable[Iterable[Any]], ...] = (clock, steps, amounts)
    kinds = zip(bodies, heads, strict=True)
    return [tabulate(rows, headers=head, tablefmt="github", disable_numparse=True) for rows, head in kinds]


_STEPS = ("list", "GETs", "fetch and decode", "embed", "fetch, decode and embed", "commit")


def _who(workers: Workers) -> str:
    return f"{workers.gpus:g} GPUs + {workers.cpus} cores" if workers.gpus else f"{workers.cpus} cores"


def _short(count: int) -> str:
    return f"{count / 1e9:g}B" if count >= 1e9 else f"{count / 1e6:g}M"


def _hours(hours: float) -> str:
    return "-" if not hours else f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}"


def _bytes(count: int) -> str:
    return f"{count / 1e12:.3g} TB" if count >= 1e12 else f"{count / 1e9:.3g} GB"


def main() -> None:
    """Print them."""
    print("\n\n".join(tables()))


if __name__ == "__main__":
    main()
