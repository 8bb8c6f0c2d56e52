"""The real Airflow with its database and Ray, on loopback, once for all tests of this folder.

A process of Airflow stands behind every test here, so these run in one process, one after the other. The files stand
in this order: what needs a history without tables (assets), then the rest by name.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipflow_airflow.stack import Stack, postgres
from tests import guardian
from tests.airflow_sandbox import ROOT, sandbox

__all__ = ["sandbox"]

HERE = Path(__file__).parent

# A killed process counts as alive for as long as the first of these say; users keep Airflow's own, longer ones.
QUICK = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "15",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    # Shorter, a busy machine lets the scheduler take its own tasks for orphans.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TRIGGER_TIMEOUT_CHECK_INTERVAL": "2",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "8",
    # No trigger fires before this, and five seconds more.
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    # New and touched DAG files are seen at once.
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "2",
    "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
    # Tasks that halt until they are killed hold a slot each, and others run beside them.
    "AIRFLOW__CORE__PARALLELISM": "16",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The hook of a conftest is asked about the items of all folders.
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker("live")


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The real Airflow with PostgreSQL and Ray; its DAGs are the repository's and those of the folder beside us."""
    if missing := postgres.missing():
        pytest.skip(missing)
    with new_home() as folder:
        dags, halts = folder / "dags", folder / "halts"
        for made_of in (ROOT / "dags", HERE / "dags"):
            shutil.copytree(made_of, dags, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        halts.mkdir()
        environment = {**QUICK, "CLIPFLOW_TEST_HALTS": str(halts)}
        with Stack(folder / "home", dags, database="postgresql", environment=environment) as running:
            yield running


@pytest.fixture(scope="module")
def three_slots(stack: Stack) -> Iterator[Stack]:
    """The stack with room for three jobs at once, for a module."""
    pool = {"name": "clipflow_gpu", "include_deferred": True}
    before = stack.get("/pools/clipflow_gpu")["slots"]
    stack.patch("/pools/clipflow_gpu", {**pool, "slots": 3})
    yield stack
    stack.patch("/pools/clipflow_gpu", {**pool, "slots": before})


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """A folder that goes; not pytest's, which PostgreSQL's own account may not enter."""
    folder = guardian.folder("home-")
    folder.chmod(0o711)
    guardian.keep_home(folder / "home")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
