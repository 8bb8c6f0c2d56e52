"""Embed each day's new images, once a day."""

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Asset, CronDataIntervalTimetable, Param

from clipflow_airflow import AuditTableOperator, EmbedImagesOperator, conn_id_param, job_file_param

DOC = """
### clip_embed_daily
Embeds the images that arrived during the data interval and lands one row per image, with its verdict, in a Lance table.

* Which images, which model, which policy, which table: all that stands in the **job file**.
* The window is the data interval, widened backwards by six hours for uploads that were slow to finish;
  what the table holds already is not done again. Catch-up, backfills and retries are therefore safe, also in parallel.
* A gate: `audit_table` looks at the table after a run that changed it, and the asset `clip_embeddings`, which
  `clip_maintain_table` waits for to publish, is announced only when the condition on the form, such as
  `rejected_share > 0.2`, does not hold. Without a condition nothing is audited, and every change is announced.
* `conn_id` names a connection of the type *Ray Jobs*; `local` embeds in the worker's own process.

With `CLIPFLOW_START`, Airflow catches up from that day by itself. Without, it goes on from now, and days before
or during a pause are done by a backfill.

Set `CLIPFLOW_JOB_FILE` and `CLIPFLOW_CONN_ID` where Airflow runs, or choose when you trigger by hand.
`CLIPFLOW_POOL` names a pool: a slot for each job that the cluster's GPUs take at once; it should count deferred tasks.
"""

START = os.environ.get("CLIPFLOW_START")
with DAG(
    dag_id="clip_embed_daily",
    description="Embed each day's new images into a Lance table.",
    doc_md=DOC,
    # Not "@daily": that timetable gives intervals that end where they start.
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime.fromisoformat(START or "2020-01-01").replace(tzinfo=UTC),
    catchup=bool(START),
    max_active_runs=3,
    tags=["clipflow", "embeddings"],
    default_args={"owner": "clipflow", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "job_file": job_file_param(),
        "conn_id": conn_id_param(),
        "fail_if": Param(
            os.environ.get("CLIPFLOW_FAIL_IF"),
            type=["null", "string"],
            title="Do not publish if",
            description="A condition of `clipflow audit --fail-if`; empty, everything is published.",
        ),
    },
) as dag:
    embed = EmbedImagesOperator(
        task_id="embed_images",
        job="{{ params.job_file }}",
        conn_id="{{ params.conn_id }}",
        window="modified",
        sets=["source.lateness=6h"],
        ray=os.environ.get("CLIPFLOW_RAY"),
        pool=os.environ.get("CLIPFLOW_POOL", "default_pool"),
    )
    embed >> AuditTableOperator(
        task_id="audit_table",
        table="{{ ti.xcom_pull(task_ids='embed_images')['table'] }}",
        fail_if="{{ params.fail_if or '' }}",
        gates="embed_images",
        conn_id="{{ params.conn_id }}",
        pool=os.environ.get("CLIPFLOW_POOL", "default_pool"),
        outlets=[Asset("clip_embeddings")],
    )
