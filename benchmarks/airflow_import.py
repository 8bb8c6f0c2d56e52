"""What importing the operator costs over bare Airflow, in fresh interpreters, turn by turn."""

import argparse
import statistics
import subprocess
import sys
import time

from tabulate import tabulate

from benchmarks.machine import described

_BARE = "from airflow.sdk import DAG, Asset, BaseHook, BaseOperator, Param"
_CASES = {
    "Python": "pass",
    "airflow.sdk": _BARE,
    "and EmbedImagesOperator": f"{_BARE}\nfrom clipflow_airflow import EmbedImagesOperator",
    "and NewUploadsTrigger": f"{_BARE}\nfrom clipflow_airflow import NewUploadsTrigger",
    "and the plugin": f"{_BARE}\nimport clipflow_airflow.plugin",
}


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.airflow_import", description="Cost of imports.")
    parser.add_argument("--rounds", type=int, default=9, help="interpreters per case (default 9)")
    call = parser.parse_args()
    print(described(("apache-airflow", "pydantic", "aiohttp")), flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in _CASES}
    for _ in range(call.rounds):
        for name, code in _CASES.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            seconds[name].append(time.perf_counter() - began)
    bare = statistics.median(seconds["airflow.sdk"])
    rows = [
        (name, min(took), statistics.median(took), statistics.median(took) - bare) for name, took in seconds.items()
    ]
    print(
        tabulate(rows, headers=("import", "min s", "median s", "over airflow.sdk"), floatfmt=".2f", tablefmt="github")
    )


if __name__ == "__main__":
    main()
