"""Embed the folder of each day, as a partition that others can wait for."""

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Asset, CronPartitionTimetable, Param

from clipflow_airflow import EmbedImagesOperator, conn_id_param, job_file_param

DOC = """
### clip_embed_partitions
Embeds one day after another, like `clip_embed_daily`, and tells Airflow **which** day each event is about.

* Choose it where other DAGs want exactly one run for every day. Events of `clip_embed_daily` may come together
  in one run; those of partitions do not: schedule the others by
  `PartitionedAssetTimetable(assets=Asset("clip_embeddings_by_day"))`.
* Choose `clip_embed_daily` otherwise. Runs with a data interval catch up by themselves after a pause,
  while missed partitions are made by a backfill.
* The day is the window: of modification times, or, with window `path` in the job file, of the dated folder.

The environment variables are those of `clip_embed_daily`.
"""

NEXT_DAY = "{{ (partition_date + macros.timedelta(days=1)).isoformat() if partition_date else '' }}"

with DAG(
    dag_id="clip_embed_partitions",
    description="Embed each day's images as a partition.",
    doc_md=DOC,
    # A run just after midnight is about the day before.
    schedule=CronPartitionTimetable("0 0 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=3,
    tags=["clipflow", "embeddings"],
    default_args={"owner": "clipflow", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "job_file": job_file_param(),
        "window": Param("modified", enum=["modified", "path"], title="Window", description="What a day means."),
        "conn_id": conn_id_param(),
    },
) as dag:
    EmbedImagesOperator(
        task_id="embed_images",
        job="{{ params.job_file }}",
        conn_id="{{ params.conn_id }}",
        window="{{ params.window }}",
        interval=("{{ partition_date.isoformat() if partition_date else '' }}", NEXT_DAY),
        sets=["source.lateness=6h"],
        ray=os.environ.get("CLIPFLOW_RAY"),
        pool=os.environ.get("CLIPFLOW_POOL", "default_pool"),
        outlets=[Asset("clip_embeddings_by_day")],
    )
