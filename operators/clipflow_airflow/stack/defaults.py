"""What the repository's DAGs find in this Airflow: a job, a connection, a pool."""

from collections.abc import Mapping

from clipflow_airflow.stack.components import AirflowApi
from clipflow_airflow.stack.errors import ApiError
from clipflow_airflow.stack.ray_head import RayHead
from clipflow_airflow.stack.trial import Trial

POOL = "clipflow_gpu"


def variables(ray: RayHead | None, trial: Trial | None, given: Mapping[str, str]) -> dict[str, str]:
    """The variables that the DAGs read; what is given stands."""
    found = {"CLIPFLOW_POOL": POOL}
    if ray is None:
        found |= {"CLIPFLOW_CONN_ID": "local", "CLIPFLOW_RAY": "none"}
    else:
        found |= {"CLIPFLOW_CONN_ID": "ray_default", "AIRFLOW_CONN_RAY_DEFAULT": ray.connection(poll_seconds=1)}
    if trial is not None:
        # No CLIPFLOW_START: a backfill of days before it would say success and do nothing.
        found |= {"CLIPFLOW_JOB_FILE": str(trial.job)}
    return found | {name: given[name] for name in found if name in given}


def make_pool(api: AirflowApi) -> None:
    """The pool that lets one embedding job at a time onto the GPU, deferred ones counted."""
    body = {"name": POOL, "slots": 1, "include_deferred": True, "description": "One embedding job at a time."}
    try:
        api.call("POST", "/pools", body)
    except ApiError as error:
        # An earlier up made it, and somebody may have given it more slots since.
        if error.status != 409:
            raise
