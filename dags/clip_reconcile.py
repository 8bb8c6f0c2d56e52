"""Bring deletions to a table that is filled by intervals, uploads or partitions: once a week, the whole listing."""

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Asset, CronTriggerTimetable

from clipflow_airflow import EmbedImagesOperator, conn_id_param, job_file_param

DOC = """
### clip_reconcile
A run over an interval sees what arrived in it, and never what is gone. This one lists the whole source once a week.

* What is unchanged is not fetched: it costs a listing. What earlier runs missed is embedded.
* A row whose object is gone is rejected with `source_deleted`; it returns with its verdict when the object does.
* Many at once are not believed: more than `limits.max_withdrawn_share` of the source's rows (a fifth, and more
  than 20) end the run with an error that says how to allow it, and nothing is withdrawn.

The job file is that of the DAG that fills the table; its window does not matter here.
`CLIPFLOW_JOB_FILE`, `CLIPFLOW_CONN_ID` and `CLIPFLOW_POOL` are as in the other DAGs.
"""

with DAG(
    dag_id="clip_reconcile",
    description="List the whole source once a week, and withdraw rows whose object is gone.",
    doc_md=DOC,
    schedule=CronTriggerTimetable("0 3 * * 0", timezone="UTC"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["clipflow", "maintenance"],
    default_args={"owner": "clipflow", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={"job_file": job_file_param(), "conn_id": conn_id_param()},
) as dag:
    EmbedImagesOperator(
        task_id="reconcile_table",
        job="{{ params.job_file }}",
        conn_id="{{ params.conn_id }}",
        reconcile=True,
        ray=os.environ.get("CLIPFLOW_RAY"),
        pool=os.environ.get("CLIPFLOW_POOL", "default_pool"),
        outlets=[Asset("clip_embeddings")],
    )
