"""The Airflow side of clipflow: a DAG never needs to import more than this package.

Names load on first use: Airflow imports provider packages in every one of its processes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipflow.version import __version__
    from clipflow_airflow.changed import changed_tables
    from clipflow_airflow.embed import EmbedImagesOperator
    from clipflow_airflow.hook import RayJobsHook
    from clipflow_airflow.operator import ClipflowOperator
    from clipflow_airflow.params import conn_id_param, job_file_param
    from clipflow_airflow.provider import get_provider_info
    from clipflow_airflow.tables import (
        AuditTableOperator,
        ForgetImagesOperator,
        JudgeTableOperator,
        MaintainTableOperator,
        MigrateEncoderOperator,
    )
    from clipflow_airflow.uploads import NewUploadsTrigger

__all__ = [
    "AuditTableOperator",
    "ClipflowOperator",
    "EmbedImagesOperator",
    "ForgetImagesOperator",
    "JudgeTableOperator",
    "MaintainTableOperator",
    "MigrateEncoderOperator",
    "NewUploadsTrigger",
    "RayJobsHook",
    "__version__",
    "changed_tables",
    "conn_id_param",
    "get_provider_info",
    "job_file_param",
]

_HOMES = {
    "AuditTableOperator": "clipflow_airflow.tables",
    "ClipflowOperator": "clipflow_airflow.operator",
    "EmbedImagesOperator": "clipflow_airflow.embed",
    "ForgetImagesOperator": "clipflow_airflow.tables",
    "JudgeTableOperator": "clipflow_airflow.tables",
    "MaintainTableOperator": "clipflow_airflow.tables",
    "MigrateEncoderOperator": "clipflow_airflow.tables",
    "NewUploadsTrigger": "clipflow_airflow.uploads",
    "RayJobsHook": "clipflow_airflow.hook",
    "__version__": "clipflow.version",
    "changed_tables": "clipflow_airflow.changed",
    "conn_id_param": "clipflow_airflow.params",
    "job_file_param": "clipflow_airflow.params",
    "get_provider_info": "clipflow_airflow.provider",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
