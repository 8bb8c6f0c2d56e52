"""One clean environment for every test: the stub encoder as an installed plugin, no network, no credentials."""

import os
import sys
from collections.abc import Generator
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import settings

from tests.ray_fixtures import joined_ray, standing_ray
from tests.s3 import s3

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
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

# Not skipped, which would be a failure under --no-skips: `make test-open-clip` runs them where open_clip is.
collect_ignore = [] if find_spec("open_clip") else ["open_clip"]

__all__ = ["joined_ray", "s3", "standing_ray"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failed one")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _unskipped((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _unskipped((yield), collector.config)


def _unskipped(report: Report, config: pytest.Config) -> Report:
    # An expected failure is reported as a skip too, and is none.
    if config.getoption("no_skips") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
    return report


def pytest_report_header() -> str:
    """The versions that decide."""
    names = ("torch", "transformers", "ray", "pylance", "lancedb", "duckdb", "pyarrow", "pillow", "apache-airflow")
    # open_clip has an environment of its own, without Airflow.
    installed = [name for name in names if next(iter(distributions(name=name)), None)]
    return "with " + ", ".join(f"{name} {version(name)}" for name in installed)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
