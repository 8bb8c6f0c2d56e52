"""Who is compared: each a command that ends with one committed row per photograph."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path


class Contestant(ABC):
    """One way to do the work."""

    name: str

    @abstractmethod
    def command(self, photographs: Path, checkpoint: Path, table: Path) -> Sequence[str]:
        """What follows `python -m`."""


class HandLoop(Contestant):
    """See `benchmarks.loop`."""

    def __init__(self, precision: str) -> None:
        self.name = f"hand loop, {precision}"
        self._precision = precision

    def command(self, photographs: Path, checkpoint: Path, table: Path) -> Sequence[str]:
        """One thread, batches of 32."""
        return ("benchmarks.loop", str(photographs), str(checkpoint), str(table), self._precision)


class Clipflow(Contestant):
    """`clipflow run` without Ray, so that the whole run is one process."""

    def __init__(self, precision: str) -> None:
        self.name = f"clipflow, {precision}"
        self._precision = precision

    def command(self, photographs: Path, checkpoint: Path, table: Path) -> Sequence[str]:
        """The job file lies beside the table."""
        job = {
            "name": "bench",
            "source": {"uri": f"{photographs}/"},
            "encoder": {"model": str(checkpoint), "precision": self._precision},
            "table": {"uri": str(table)},
        }
        path = table.with_suffix(".yaml")
        path.write_text(json.dumps(job))  # JSON is YAML
        return ("clipflow", "run", str(path), "--ray", "none", "--json")


def contestants() -> list[Contestant]:
    """The first is what the others are held against."""
    return [HandLoop("fp32"), HandLoop("bf16"), Clipflow("fp32"), Clipflow("auto")]
