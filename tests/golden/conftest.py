"""Airflow reads its configuration on first import, so it gets a throw-away home before a test module imports it."""

import atexit
import shutil
import sys
import tempfile
from pathlib import Path

from clipflow_airflow.sandbox import Sandbox

# The tests of Airflow make a home of their own; where they are collected first, theirs serves us too.
if "airflow" not in sys.modules:
    HOME = Path(tempfile.mkdtemp(prefix="cf-airflow-"))
    atexit.register(shutil.rmtree, HOME, ignore_errors=True)
    Sandbox(HOME, Path(__file__).parents[2] / "dags")
