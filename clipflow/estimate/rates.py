"""Rates: how fast things go and how large they are, each with where the number comes from."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from clipflow.errors import UsageError

UNITS = {
    "images_per_second_per_worker": "images/s that one CPU worker fetches, decodes, embeds, scores and stages",
    "prepared_per_second_per_cpu": "images/s that one CPU worker fetches and decodes for GPUs",
    "images_per_second_per_gpu_encoder": "images/s that one encoder embeds on its share of a GPU",
    "committed_per_second": "rows/s that the driver commits",
    "gets_per_second": "GETs/s that the store answers, all workers together",
    "fetched_per_second": "bytes/s that the network brings, all workers together",
    "bytes_per_image": "bytes of an image whose size the listing does not say",
    "bytes_per_row": "bytes of a row in the table's data files",
    "fixed_seconds": "seconds of starting, before the first image",
}
"""What can be measured or given, and its meaning."""


@dataclass(frozen=True)
class Rate:
    """A number, positive and finite, and where it comes from."""

    value: float
    source: str


Rates = Mapping[str, Rate]

DEFAULTS: Rates = {
    "committed_per_second": Rate(100_000, "assumed: benchmarks/scale.py held it on 2 cores and a local disk"),
}
"""Where nothing else is known."""


def given_rates(texts: Iterable[str]) -> dict[str, Rate]:
    """Rates as a command line gives them, `name=number`.

    Raises:
        UsageError: An unknown name, or no positive number.
    """
    found = {}
    for text in texts:
        name, equals, number = text.partition("=")
        if not equals or name not in UNITS:
            raise UsageError(f"There is no rate {name!r}.", f"Give NAME=NUMBER; names are {', '.join(UNITS)}.")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"The rate {name} is {number!r}, which is no positive number.", f"It is {UNITS[name]}.")
        found[name] = Rate(value, "given")
    return found


def document(rates: Rates) -> dict[str, dict[str, float | str]]:
    """As plain data."""
    return {name: {**asdict(rate), "unit": UNITS[name]} for name, rate in sorted(rates.items())}
