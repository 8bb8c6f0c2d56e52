"""The buttons of a task: where they lead, what they never tell, and how Airflow finds them again."""

from urllib.parse import unquote, urlsplit

import pytest
from airflow.sdk.types import TaskInstanceKey

from clipflow_airflow.links import RayJobLink, RunPageLink, ray_job_url, run_page_url, server_path, task_url

RUN_ID = "scheduled__2026-11-03T00:00:00+00:00"


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://ray.example:8265", "http://ray.example:8265/#/jobs/clipflow-1-0"),
        ("http://ray.example:8265/", "http://ray.example:8265/#/jobs/clipflow-1-0"),
        ("https://proxy.example/ray/", "https://proxy.example/ray/#/jobs/clipflow-1-0"),
        ("https://me:s3cret@ray.example:8265?token=s3cret#s3cret", "https://ray.example:8265/#/jobs/clipflow-1-0"),
        ("http://[::1]:8265", "http://[::1]:8265/#/jobs/clipflow-1-0"),
    ],
)
def test_a_job_on_the_dashboard(address: str, url: str) -> None:
    assert ray_job_url(address, "clipflow-1-0") == url


def test_a_submission_id_stays_one_word() -> None:
    assert ray_job_url("http://r", "a/b?c").endswith("#/jobs/a%2Fb%3Fc")


def test_a_run_id_survives_its_url() -> None:
    path = run_page_url("d.x", RUN_ID, "group.t", 3)
    parts = urlsplit(path)
    assert not parts.netloc
    assert [unquote(part) for part in parts.path.split("/")] == ["", "clipflow", "runs", "d.x", RUN_ID, "group.t"]
    assert parts.query == "map_index=3"
    assert "+" not in path
    assert not urlsplit(run_page_url("d", RUN_ID, "t")).query


def test_back_to_the_task() -> None:
    task = "/dags/d/runs/scheduled__2026-11-03T00%3A00%3A00%2B00%3A00/tasks/t"
    assert task_url("d", RUN_ID, "t") == task
    assert task_url("d", RUN_ID, "t", 0) == f"{task}/mapped/0"


@pytest.mark.parametrize(
    ("base", "path"),
    [("", ""), ("http://airflow.example", ""), ("http://h:8080/", ""), ("https://h/data/airflow/", "/data/airflow")],
)
def test_a_server_below_a_path(base: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base)
    assert server_path() == path
    assert run_page_url("d", "r", "t") == f"{path}/clipflow/runs/d/r/t"


def test_the_page_of_a_task_instance() -> None:
    key = TaskInstanceKey("d", "t", RUN_ID, 2, -1)
    assert RunPageLink().get_link(None, ti_key=key) == run_page_url("d", RUN_ID, "t")  # type: ignore[arg-type]


def test_a_serialised_task_knows_its_buttons() -> None:
    from airflow.sdk import DAG, BaseOperator
    from airflow.serialization.serialized_objects import DagSerialization

    class Linked(BaseOperator):
        operator_extra_links = (RayJobLink(), RunPageLink())

    with DAG("links") as dag:
        Linked(task_id="t")
    again = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag)).get_task("t")
    assert {link.name: link.xcom_key for link in again.operator_extra_links} == {
        "Ray dashboard": "ray_job",
        "Run's page": "clipflow_run",
    }


def test_the_provider_names_them() -> None:
    from airflow.providers_manager import ProvidersManager

    assert {f"clipflow_airflow.links.{link.__name__}" for link in (RayJobLink, RunPageLink)} <= set(
        # Airflow leaves this untyped.
        ProvidersManager().extra_links_class_names  # type: ignore[no-untyped-call]
    )
