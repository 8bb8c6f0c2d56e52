"""A command's end, and what it works on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.catalogues import STUB, draw


class Said(NamedTuple):
    """How a command ended; `document` is what --json printed."""

    code: int
    document: Any
    sentence: str

    @property
    def error(self) -> dict[str, Any]:
        """The error of the document, which stderr tells as well."""
        found: dict[str, Any] = self.document["error"]
        return found


Say = Callable[..., Said]


class Home:
    """Four pictures and a job over them, whose table may lie elsewhere."""

    def __init__(self, folder: Path, table: Path) -> None:
        draw(folder / "images", range(4))
        self.images, self.table, self.job = folder / "images", table, folder / "job.json"
        whole = {
            "name": "test",
            "source": {"uri": str(self.images)},
            "encoder": STUB,
            "table": {"uri": str(table)},
        }
        self.job.write_text(json.dumps(whole))
