"""A throw-away Airflow in this process, for the conftest of every folder whose tests import Airflow.

Airflow reads its configuration on first import, which test modules do when they are collected: so a conftest imports
this before them. Other folders do not, and pay nothing.
"""

import atexit
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest

from clipflow_airflow.sandbox import Sandbox

ROOT = Path(__file__).parents[1]
HOME = Path(tempfile.mkdtemp(prefix="cf-airflow-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
SANDBOX = Sandbox(HOME, ROOT / "dags")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import airflow.sdk

    assert airflow.sdk.__version__


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    SANDBOX.open()
    return SANDBOX
