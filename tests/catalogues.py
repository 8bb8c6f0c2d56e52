"""Small catalogues of drawn pictures, jobs over them, and what a table must look like afterwards."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lance
import numpy as np
from PIL import Image

from clipflow.spec import JobSpec

STUB: dict[str, Any] = {"model": "stub:dim=16", "loader": "stub"}


def picture(seed: int, width: int = 48, height: int = 40) -> bytes:
    """A PNG that no other seed gives."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def draw(folder: Path, names: Iterable[int]) -> None:
    """Write picture N as `N.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / f"{name:06}.png").write_bytes(picture(name))


def job(folder: Path | str, table: Path | str, /, **more: Any) -> JobSpec:
    """A job over a folder; `more` are further parts, `source`, `table` and `encoder` merged into the defaults."""
    return JobSpec.model_validate(
        {
            "name": "test",
            **more,
            "source": {"uri": str(folder), **more.get("source", {})},
            "encoder": more.get("encoder", STUB),
            "table": {"uri": str(table), **more.get("table", {})},
        }
    )


def rows(table: Path | str, columns: list[str] | None = None, version: int | None = None) -> dict[str, dict[str, Any]]:
    """The rows by image_id; fails when one stands twice."""
    found = lance.dataset(str(table), version=version).to_table(columns=columns).to_pylist()
    by_id = {row["image_id"]: row for row in found}
    assert len(by_id) == len(found), "a row stands twice"
    return by_id


def assert_unique_ever(table: Path | str) -> int:
    """Law 2 over every version of the table; gives the number of versions."""
    versions = lance.dataset(str(table)).versions()
    for version in versions:
        ids = lance.dataset(str(table), version=version["version"]).to_table(columns=["image_id"])["image_id"]
        assert len(ids.unique()) == len(ids), f"version {version['version']} holds a row twice"
    return len(versions)
