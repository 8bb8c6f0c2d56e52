"""The Airflow side of clipflow: a DAG never needs to import more than this package.

Names load on first use: Airflow imports provider packages in every one of its processes.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipflow.version import __version__
    from clipflow_airflow.hook import RayJobsHook
    from clipflow_airflow.operator import EmbedImagesOperator
    from clipflow_airflow.provider import get_provider_info

__all__ = ["EmbedImagesOperator", "RayJobsHook", "__version__", "get_provider_info"]

_HOMES = {
    "EmbedImagesOperator": "clipflow_airflow.operator",
    "RayJobsHook": "clipflow_airflow.hook",
    "__version__": "clipflow.version",
    "get_provider_info": "clipflow_airflow.provider",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
