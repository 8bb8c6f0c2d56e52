"""Two tables of few drawn pictures: accepted, rejected, unreadable, and without a vector."""

from dataclasses import dataclass
from pathlib import Path

import pytest

import clipflow
from tests.catalogues import draw, job, picture

SMALL_SIDE = 20
RULES = {"rules": [{"name": "too_small", "score": "min_side", "reject_below": SMALL_SIDE + 1}]}
STUB_NAN = {"model": "stub:dim=16,nan=1", "loader": "stub"}


@dataclass(frozen=True)
class Filled:
    """A table after two runs.

    Attributes:
        first: The version after the first run, which saw pictures 0 to 9.
        accepted, rejected, failed: Rows by status after the second run.
    """

    uri: str
    images: Path
    first: int
    accepted: int = 14
    rejected: int = 3
    failed: int = 2


@pytest.fixture(scope="session", params=["float16", "float32"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Filled:
    folder = tmp_path_factory.mktemp(f"query-{request.param}")
    images, table = folder / "images", folder / "catalog.lance"
    draw(images, range(10))
    spec = job(images, table, encoder=STUB_NAN, policy=RULES, table={"vector": request.param})
    first = clipflow.run(spec, ray="none")
    draw(images, range(10, 14))
    for name in range(20, 23):
        (images / f"small{name}.png").write_bytes(picture(name, width=SMALL_SIDE, height=60))
    (images / "broken.png").write_bytes(b"no picture")
    _black(images / "black.png")
    clipflow.run(spec, ray="none")
    assert first.version is not None
    return Filled(str(table), images, first.version)


def _black(path: Path) -> None:
    """The one picture for which this encoder gives no vector."""
    from PIL import Image

    Image.new("RGB", (40, 40)).save(path)
