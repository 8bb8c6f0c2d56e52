"""Fields that the forms of several DAGs have in common; their defaults come from Airflow's environment."""

import os

from airflow.sdk import Param


def job_file_param() -> Param:
    """The field for a job file."""
    return Param(
        os.environ.get("CLIPFLOW_JOB_FILE", "clipflow.yaml"),
        type="string",
        minLength=1,
        title="Job file",
        description="Path of the job file on the Airflow worker.",
    )


def conn_id_param() -> Param:
    """The field for a connection."""
    return Param(
        os.environ.get("CLIPFLOW_CONN_ID", "local"),
        type="string",
        minLength=1,
        title="Ray connection",
        description="A connection of the type Ray Jobs, or local for the worker's own process.",
    )
