"""Embed new images as soon as they appear."""

import os
from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetWatcher

from clipflow_airflow import EmbedImagesOperator, NewUploadsTrigger, conn_id_param, job_file_param

DOC = """
### clip_embed_uploads
Watches a prefix, and embeds what is new there as soon as it appears.

* Set `CLIPFLOW_UPLOADS` to the folder or `s3://` prefix to watch: the one that the **job file** names as its source.
  Unset, nothing is watched, and the DAG runs by hand only.
* Every run looks at all that the job file names. What the table holds already is not done again, so uploads
  that come while a run is under way wait together for the next one, and a failed run is made up for by the next.
* Each minute the prefix is listed once; `CLIPFLOW_POLL_SECONDS` changes that.
* The job file's window must be `all` or `modified`: an upload brings no interval of time.

`CLIPFLOW_JOB_FILE`, `CLIPFLOW_CONN_ID` and `CLIPFLOW_POOL` are as in the other DAGs.
"""


def uploads(prefix: str) -> list[Asset]:
    """The uploads as an asset that a watcher announces."""
    trigger = NewUploadsTrigger(prefix, poll_seconds=float(os.environ.get("CLIPFLOW_POLL_SECONDS", "60")))
    return [Asset("clip_uploads", watchers=[AssetWatcher(name="new_uploads", trigger=trigger)])]


WATCHED = os.environ.get("CLIPFLOW_UPLOADS")
with DAG(
    dag_id="clip_embed_uploads",
    description="Embed new images as soon as they appear.",
    doc_md=DOC,
    schedule=uploads(WATCHED) if WATCHED else None,
    # Two at a time would look at the same images.
    max_active_runs=1,
    tags=["clipflow", "embeddings"],
    default_args={"owner": "clipflow", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "job_file": job_file_param(),
        "conn_id": conn_id_param(),
    },
) as dag:
    EmbedImagesOperator(
        task_id="embed_images",
        job="{{ params.job_file }}",
        conn_id="{{ params.conn_id }}",
        interval=("", ""),
        ray=os.environ.get("CLIPFLOW_RAY"),
        pool=os.environ.get("CLIPFLOW_POOL", "default_pool"),
        outlets=[Asset("clip_embeddings")],
    )
