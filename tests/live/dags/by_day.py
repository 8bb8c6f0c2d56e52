"""A consumer that wants exactly one run for every day that was embedded."""

from airflow.sdk import DAG, Asset, PartitionedAssetTimetable, task

with DAG(
    dag_id="by_day",
    schedule=PartitionedAssetTimetable(assets=Asset("clip_embeddings_by_day")),
    catchup=False,
    is_paused_upon_creation=False,
):

    @task
    def day(dag_run: object = None) -> str:
        return str(dag_run.partition_key)  # type: ignore[attr-defined]

    day()
