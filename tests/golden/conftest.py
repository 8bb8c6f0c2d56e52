"""Airflow reads its configuration on first import, so it gets its throw-away home before a test module imports it."""

from tests.airflow_sandbox import sandbox

__all__ = ["sandbox"]
