"""A throw-away Airflow in this process."""

from tests.airflow_sandbox import sandbox

__all__ = ["sandbox"]
