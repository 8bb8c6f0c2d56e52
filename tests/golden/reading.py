"""Where the golden data lies, and a table as plain JSON, every value to full precision."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import lance
import numpy as np

HERE = Path(__file__).parent
PARTS = ("catalog.lance", "catalog_runs.lance", "catalog_forgotten.lance")
KEYS = ("image_id", "run_id", "hash")


def read(table: Path) -> dict[str, Any]:
    """Schema, metadata, tags, the count of rows by version, and the latest rows sorted by key, without their nulls."""
    dataset = lance.dataset(str(table))
    key = next(name for name in KEYS if name in dataset.schema.names)
    found = sorted(dataset.to_table().to_pylist(), key=lambda row: str(row[key]))
    return {
        "schema": {field.name: str(field.type) for field in dataset.schema},
        "metadata": {k.decode(): v.decode() for k, v in sorted((dataset.schema.metadata or {}).items())},
        "rows": [{name: plain(value) for name, value in row.items() if value is not None} for row in found],
        "versions": {str(one["version"]): _count(table, one["version"]) for one in dataset.versions()},
        "tags": {name: tag["version"] for name, tag in dataset.tags.list().items()},
    }


def plain(value: Any) -> Any:
    """A value as JSON keeps it: times in UTC to the microsecond, float32 and float16 exactly as float64."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value


def _count(table: Path, version: int) -> int:
    return int(lance.dataset(str(table), version=version).count_rows())


def dumped(parts: dict[str, Any]) -> str:
    """JSON with a row a line, so that a difference can be read."""
    lines = []
    for name, part in parts.items():
        rows = ",\n".join(_line(row) for row in part["rows"])
        about = "".join(f",\n{_line(key)}: {_line(value)}" for key, value in sorted(part.items()) if key != "rows")
        lines.append(f'{_line(name)}: {{"rows": [\n{rows}\n]{about}}}')
    return "{" + ",\n".join(lines) + "}\n"


def _line(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
