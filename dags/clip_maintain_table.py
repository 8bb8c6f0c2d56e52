"""Index, compact, clean up and tag the tables that embedding runs have changed."""

import os
from datetime import timedelta

from airflow.sdk import DAG, Asset, Param

from clipflow_airflow import MaintainTableOperator, changed_tables, conn_id_param

DOC = """
### clip_maintain_table
Follows every run that changed a table: indexes, compacts, cleans up, and moves the tag `published` to the result.

* It is started by events of the asset `clip_embeddings`, which name the table. Events that come
  while a run is under way start one run together, and every table is worked on once.
* By hand, name the table on the form.
* Embedding runs may go on meanwhile: both sides wait for each other's commits, and no row is lost or doubled.

`CLIPFLOW_CONN_ID` and `CLIPFLOW_POOL` are as in the other DAGs.
"""

with DAG(
    dag_id="clip_maintain_table",
    description="Index, compact, clean up and tag the tables that changed.",
    doc_md=DOC,
    schedule=[Asset("clip_embeddings")],
    # Two at a time would compact the same fragments, and one of them for nothing.
    max_active_runs=1,
    tags=["clipflow", "maintenance"],
    default_args={"owner": "clipflow", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "table": Param(
            None,
            type=["null", "string"],
            title="Table",
            description="Path or s3:// URI, ending in .lance. Empty, the tables that the events name.",
        ),
        "keep_days": Param(
            7, type="integer", minimum=0, title="Keep days", description="Older versions of the table are removed."
        ),
        "conn_id": conn_id_param(),
    },
) as dag:
    MaintainTableOperator.partial(
        task_id="maintain_table",
        conn_id="{{ params.conn_id }}",
        keep_days="{{ params.keep_days }}",
        pool=os.environ.get("CLIPFLOW_POOL", "default_pool"),
        max_active_tis_per_dag=1,
        outlets=[Asset("clip_published")],
    ).expand(table=changed_tables("{{ params.table or '' }}"))
