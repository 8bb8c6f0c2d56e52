"""One clean environment for every test: the stub encoder as an installed plugin, no network, no credentials.

Tests that share a server run in one worker, so that each server is there once, see `SHARED`.
"""

import os
import sys
import time
from collections.abc import Generator, Sequence
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import pytest

from tests import examples
from tests.guardian import MARK, Guardian
from tests.ray_fixtures import joined_ray, standing_ray
from tests.s3 import s3

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)
PLUGIN = Path(__file__).parent / "plugins" / "stub_encoder"

# Set before anything is imported: children and Ray workers inherit it.
sys.path.insert(0, str(PLUGIN))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))
os.environ["HF_HUB_OFFLINE"] = "1"
for _name in [name for name in os.environ if name.startswith(("AWS_", "CLIPFLOW_", "RAY_ADDRESS"))]:
    del os.environ[_name]

examples.load_profile()

# Not skipped, which would be a failure under --no-skips: `make test-open-clip` runs them where open_clip is.
collect_ignore = [] if find_spec("open_clip") else ["open_clip"]

__all__ = ["joined_ray", "s3", "standing_ray"]

# Who asks for one of these runs in the worker that has it: there is one of each for a whole run of tests.
SHARED = {"standing_ray": "ray", "s3": "s3", "sandbox": "airflow"}
GUARDIAN = pytest.StashKey[Guardian]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failed one")


def pytest_configure(config: pytest.Config) -> None:
    # A worker of xdist, or a pytest that a test starts, belongs to the run around it.
    if MARK not in os.environ:
        guardian = config.stash[GUARDIAN] = Guardian()
        guardian.start()


def pytest_unconfigure(config: pytest.Config) -> None:
    if (guardian := config.stash.get(GUARDIAN, None)) and (left := guardian.stop()):
        print(f"\nStill running after the last test, and ended now: {len(left)}", *left, sep="\n  ")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return
    for item in items:
        wanted = [SHARED[name] for name in SHARED if name in _fixtures(item)]
        if wanted:
            # Before the marks of its module: without its server it cannot run at all.
            item.add_marker(pytest.mark.xdist_group("+".join(wanted)), append=False)
    # What takes longest alone comes first, so that two workers end together; within these the order stays.
    items.sort(key=_rank)


def pytest_runtest_setup(item: pytest.Item) -> None:
    # `tests.chaos` has so many minutes.
    if time.time() > float(os.environ.get(examples.UNTIL, "inf")):
        pytest.skip("the minutes of make chaos are over")


def _fixtures(item: pytest.Item) -> Sequence[str]:
    return item.fixturenames if isinstance(item, pytest.Function) else ()


def _rank(item: pytest.Item) -> tuple[int, bool]:
    """Shared servers, then other groups, then the laws, then the rest.

    A test that is in the group of a server, and starts one of its own, comes before the shared one is there.
    """
    groups = {mark.args[0] for mark in item.iter_markers("xdist_group")}
    shares = not set(SHARED).isdisjoint(_fixtures(item))
    return 0 if groups & set(SHARED.values()) else 1 if groups else 2 if "laws" in item.path.parts else 3, shares


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
