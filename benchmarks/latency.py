"""A store that answers late: whether waiting for images hides behind computing.

The same photographs are embedded from an S3 store on loopback that answers at once, and from one that answers each
request after a pause, turn by turn. If fetching overlaps with computing, the wall time is the same.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import median

from tabulate import tabulate

from benchmarks.machine import described
from benchmarks.slow_store import BUCKET, slow_store
from benchmarks.stub import install
from benchmarks.usage import measured

_COLUMNS = ("encoder", "engine", "pause ms", "wall s", "over no pause", "CPU s", "seconds in fetch")


def main() -> None:
    """Parse, draw, run, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description="A store that answers late.")
    parser.add_argument("--images", type=int, default=512, help="photographs of 640 x 480 (default 512)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each (default 2)")
    parser.add_argument("--pause", type=int, default=50, help="milliseconds before each answer (default 50)")
    parser.add_argument("--ray", default="none", choices=("none", "local"), help="engine (default none)")
    parser.add_argument("--milliseconds", type=int, help="use the stub encoder, which sleeps so long for an image")
    call = parser.parse_args()
    install()
    print(described(), flush=True)
    with tempfile.TemporaryDirectory(prefix="clipflow-bench-") as folder:
        home = Path(folder)
        measured("benchmarks.photographs", str(home / "images"), str(call.images), "640x480")
        if call.milliseconds is None:
            measured("benchmarks.checkpoint", str(home / "checkpoint"))
            encoder: dict[str, str] = {"model": str(home / "checkpoint")}
        else:
            encoder = {"model": f"stub:dim=512,ms={call.milliseconds}", "loader": "stub"}
        found: dict[int, list[tuple[float, float, float]]] = {0: [], call.pause: []}
        for number in range(call.rounds):
            for pause, costs in found.items():
                with slow_store(home / "images", pause) as variables:
                    costs.append(_run(home, encoder, call.ray, variables, f"{number}-{pause}", call.images))
    base = median(cost[0] for cost in found[0])
    rows = []
    for pause, costs in found.items():
        wall, cpu, fetch = (median(cost[figure] for cost in costs) for figure in range(3))
        rows.append((encoder["model"].rpartition("/")[2], call.ray, pause, wall, wall / base, cpu, fetch))
    print(tabulate(rows, headers=_COLUMNS, floatfmt=".2f", tablefmt="github"))


def _run(
    home: Path, encoder: dict[str, str], ray: str, variables: dict[str, str], name: str, images: int
) -> tuple[float, float, float]:
    job = {
        "name": "bench",
        "source": {"uri": f"s3://{BUCKET}/"},
        "encoder": encoder,
        "table": {"uri": str(home / f"{name}.lance")},
    }
    path = home / f"{name}.yaml"
    path.write_text(json.dumps(job))  # JSON is YAML
    os.environ.update(variables)
    usage = measured("clipflow", "run", str(path), "--ray", ray, "--json")
    report = json.loads(usage.output.strip().splitlines()[-1])
    if report["embedded"] != images:
        raise RuntimeError(usage.output)
    # Starting Python, Ray and the encoder is not what is compared.
    return report["seconds"]["total"] - report["seconds"]["list"], usage.cpu, report["seconds"]["fetch"]


if __name__ == "__main__":
    main()
