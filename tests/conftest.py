"""One clean environment for every test: the stub encoder as an installed plugin, no network, no credentials."""

import os
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import settings

from tests.ray_fixtures import joined_ray, standing_ray
from tests.s3 import s3

PLUGIN = Path(__file__).parent / "plugins" / "stub_encoder"

# Set before anything is imported: children and Ray workers inherit it.
sys.path.insert(0, str(PLUGIN))
os.environ["PYTHONPATH"] = os.pathsep.join([str(PLUGIN), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
os.environ["HF_HUB_OFFLINE"] = "1"
for _name in [name for name in os.environ if name.startswith(("AWS_", "CLIPFLOW_", "RAY_ADDRESS"))]:
    del os.environ[_name]

# A busy machine is no reason to fail.
settings.register_profile("clipflow", deadline=None)
settings.load_profile("clipflow")

__all__ = ["joined_ray", "s3", "standing_ray"]


def pytest_report_header() -> str:
    """The versions that decide."""
    names = ("torch", "transformers", "ray", "pylance", "lancedb", "duckdb", "pyarrow", "pillow", "apache-airflow")
    return "with " + ", ".join(f"{name} {version(name)}" for name in names)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
