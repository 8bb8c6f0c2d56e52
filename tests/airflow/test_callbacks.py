"""A task that fails for good stops its Ray job, mapped or not, beside the callbacks that a user gives."""

import json

from airflow.sdk import DAG, Context
from airflow.serialization.serialized_objects import DagSerialization

from clipflow_airflow import MaintainTableOperator
from clipflow_airflow.operator import stop_ray_job


def page_somebody(context: Context) -> None:
    raise AssertionError(context)


def test_the_callback_is_there_once() -> None:
    with DAG("d", default_args={"on_failure_callback": page_somebody}) as dag:
        plain = MaintainTableOperator(task_id="plain", table="t.lance")
        mapped = MaintainTableOperator.partial(task_id="mapped").expand(table=["a.lance", "b.lance"])
        own = MaintainTableOperator.partial(task_id="own", on_failure_callback=None).expand(table=["a.lance"])
    assert plain.on_failure_callback == [page_somebody, stop_ray_job]
    # The DAG processor, which calls it for a worker that was lost, has the mapped task only.
    assert mapped.on_failure_callback == [page_somebody, stop_ray_job]
    assert own.on_failure_callback == [stop_ray_job]
    assert mapped.unmap({"table": "a.lance"}).on_failure_callback == [page_somebody, stop_ray_job]
    stored = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    assert all(task.has_on_failure_callback for task in stored.tasks), "else the scheduler asks for none"
