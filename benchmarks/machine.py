"""Where and when figures were measured, in a line that can stand above them."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("torch", "transformers", "pillow", "simplejpeg", "pylance", "duckdb")


def described(names: Sequence[str] = _PACKAGES) -> str:
    """Date, CPU, cores, how busy the machine is, and the versions of packages."""
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    busy = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {_cpu()}, {len(os.sched_getaffinity(0))} cores, "
        f"load {busy:.1f} at the start\n{packages}"
    )


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    found = dict(part for line in lines if len(part := [side.strip() for side in line.split(":", 1)]) == 2)
    features = found.get("flags", "").split()
    extras = [name for name in ("amx_bf16", "avx512_bf16") if name in features]
    return f"{found.get('model name', 'unknown CPU')} ({', '.join(extras) or 'no bf16 unit'})"
