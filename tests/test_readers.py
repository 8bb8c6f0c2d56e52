"""The snippets of docs/readers.md, run as they stand: float16 and float32 vectors, on a disk and on S3 over http."""

import re
from pathlib import Path
from typing import Any

import pytest

import clipflow
from tests.catalogues import draw, job
from tests.s3 import S3Server
from tests.test_readme import ROOT

PAGE = (ROOT / "docs" / "readers.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
ON_DISK, ON_S3, *SNIPPETS = BLOCKS
BY_RAY = [snippet for snippet in SNIPPETS if "import ray" in snippet]
OTHERS = [snippet for snippet in SNIPPETS if snippet not in BY_RAY]
PICTURES = 12


@pytest.fixture(scope="module", params=["float16", "float32"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `lake/catalog.lance` is: pictures of which one failed, and is without a vector."""
    folder = tmp_path_factory.mktemp(request.param)
    draw(folder / "images", range(PICTURES))
    (folder / "images" / "broken.png").write_bytes(b"no picture")
    clipflow.run(job(folder / "images", folder / "lake" / "catalog.lance", table={"vector": request.param}), ray="none")
    return folder


def upload(store: S3Server, home: Path) -> None:
    store.make_bucket("lake")
    for one in store.client.list_objects_v2(Bucket="lake").get("Contents", []):
        store.delete(one["Key"], "lake")
    for path in (home / "lake").rglob("*"):
        if path.is_file():
            store.put(str(path.relative_to(home / "lake")), path.read_bytes(), "lake")


def check(snippet: str, setting: str) -> None:
    """Run a snippet; what it found are the accepted rows, the nearest five, or all."""
    names: dict[str, Any] = {}
    exec(setting, names)
    exec(snippet, names)
    if "nearest" in names:
        assert len(names["nearest"]) == 5
    elif "accepted" in names:
        assert len(names["accepted"]) == PICTURES
    elif "counted" in names:
        assert {status: images for status, images, _ in names["counted"]} == {"accepted": PICTURES, "failed": 1}
    elif "sums" in names:
        assert len(names["sums"]) == PICTURES
    else:
        assert len(names["frame"]) in (PICTURES, PICTURES + 1)


def test_every_tool_that_the_page_names_has_a_snippet() -> None:
    tools = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert tools == ["pylance", "LanceDB", "DuckDB", "pandas", "Polars", "Ray Data"]
    assert (len(OTHERS), len(BY_RAY)) == (7, 1)


@pytest.mark.filterwarnings("ignore")  # other tools' own
@pytest.mark.parametrize("snippet", OTHERS)
def test_it_reads_a_table_on_a_disk(home: Path, snippet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    check(snippet, ON_DISK)


@pytest.mark.filterwarnings("ignore")
def test_it_reads_a_table_on_s3(home: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    s3.use(monkeypatch)
    upload(s3, home)
    for snippet in OTHERS:
        check(snippet, ON_S3)


@pytest.mark.filterwarnings("ignore")
def test_ray_reads_it(home: Path, joined_ray: str) -> None:
    # Workers have a working directory of their own.
    setting = ON_DISK.replace('"lake/', f'"{home}/lake/')
    check(BY_RAY[0], setting)


@pytest.mark.filterwarnings("ignore")
def test_ray_reads_it_on_s3(home: Path, joined_ray: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A store of its own: the shared one may be another worker's.
    with S3Server() as store:
        store.use(monkeypatch)
        upload(store, home)
        check(BY_RAY[0], ON_S3)
