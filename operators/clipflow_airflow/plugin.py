"""The Airflow plugin: the run's page, and its tab beside a task's log.

Every process of Airflow imports this module, and only its server needs the page: that is built on demand.
"""

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from clipflow_airflow.links import PREFIX, server_path


class ClipflowPlugin(AirflowPlugin):
    """What clipflow adds to Airflow's server; the entry point `airflow.plugins`."""

    name = "clipflow"
    external_views: list[Any] = [  # noqa: RUF012
        {
            "name": "Images",
            "href": f"{server_path()}{PREFIX}/runs/{{DAG_ID}}/{{RUN_ID}}/{{TASK_ID}}?map_index={{MAP_INDEX}}&tab=1",
            "destination": "task_instance",
            "url_route": "clipflow",
        }
    ]

    @cached_property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        """The page, for whoever asks: Airflow's server when it starts."""
        from clipflow_airflow.page.app import make_app

        return [{"name": "clipflow", "url_prefix": PREFIX, "app": make_app()}]
