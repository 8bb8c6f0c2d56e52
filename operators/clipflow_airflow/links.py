"""The buttons on a task's page in Airflow: its job on Ray's dashboard, and the run's page.

Airflow shows what stands in XCom under a link's `xcom_key`. The operator pushes both when it submits,
so that the buttons work while the job runs; when the task ends, Airflow asks `get_link` and pushes again.
"""

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from airflow.sdk import BaseOperator, BaseOperatorLink
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

PREFIX = "/clipflow"
RAY_JOB = "ray_job"
RUN_PAGE = "clipflow_run"


class RayJobLink(BaseOperatorLink):
    """To the job on Ray's dashboard; no button where no job went to a cluster."""

    name = "Ray dashboard"
    xcom_key = RAY_JOB

    def get_link(self, operator: BaseOperator, *, ti_key: "TaskInstanceKey") -> str:
        """The URL that was pushed at submit: the operator may have lost the id since, by deferring."""
        from airflow.sdk.execution_time.xcom import XCom

        from clipflow_airflow.operator import LOCAL

        if getattr(operator, "conn_id", None) == LOCAL:
            # Airflow logs an error for every XCom that is not there.
            return ""
        return str(XCom.get_value(ti_key=ti_key, key=self.xcom_key) or "")


class RunPageLink(BaseOperatorLink):
    """To the run's page of the plugin."""

    name = "Run's page"
    xcom_key = RUN_PAGE

    def get_link(self, operator: BaseOperator, *, ti_key: "TaskInstanceKey") -> str:
        """The page's path on Airflow's own server."""
        return run_page_url(ti_key.dag_id, ti_key.run_id, ti_key.task_id, ti_key.map_index)


def ray_job_url(address_url: str, submission_id: str) -> str:
    """A job's page on Ray's dashboard, without whatever could let a reader in.

    Args:
        address_url: Where the dashboard answers; user, password, query and fragment are left out.
        submission_id: The job.
    """
    parts = urlsplit(address_url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path.rstrip("/") + "/", "", f"/jobs/{quote(submission_id, safe='')}"))


def run_page_url(dag_id: str, run_id: str, task_id: str, map_index: int | None = -1) -> str:
    """The path of a run's page on Airflow's server; a run id holds `+` and `:`.

    Args:
        dag_id: The DAG.
        run_id: Its run.
        task_id: The task.
        map_index: Which of a mapped task; -1 or None for a task that is not mapped.
    """
    path = "/".join(quote(part, safe="") for part in (dag_id, run_id, task_id))
    page = f"{server_path()}{PREFIX}/runs/{path}"
    return page if map_index is None or map_index < 0 else f"{page}?map_index={map_index}"


def task_url(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    """The path of a task instance's own page in Airflow's UI, where its log is."""
    page = (
        f"{server_path()}/dags/{quote(dag_id, safe='')}/runs/{quote(run_id, safe='')}/tasks/{quote(task_id, safe='')}"
    )
    return page if map_index < 0 else f"{page}/mapped/{map_index}"


def server_path() -> str:
    """Below which path Airflow's server answers; empty when it has the host for itself."""
    return urlsplit(str(conf.get("api", "base_url", fallback=""))).path.rstrip("/")
