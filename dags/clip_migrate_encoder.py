"""Fill a new table with another encoder, then point readers of the old table to it."""

import os
from datetime import timedelta

from airflow.sdk import DAG, Asset, Param

from clipflow_airflow import MigrateEncoderOperator, conn_id_param

DOC = """
### clip_migrate_encoder
Trigger it and fill in the form: the images of the old table's rows are embedded by another encoder into a new table,
with their captions, attributes, reviews and tombstones. Then one commit points readers of the old table to the new one.

* What the new table holds is not done again: a retry, or the same form once more, does what is left.
* When the old policy has rules on vectors or texts, fill in the whole policy with new thresholds: scores of two
  encoders cannot be compared.
* From then on change the job file of embedding runs to the new encoder and table; runs into the old table are refused.

`CLIPFLOW_CONN_ID`, `CLIPFLOW_POOL` and `CLIPFLOW_RAY` are as in the other DAGs.
"""


def text(default: str, title: str, description: str) -> Param:
    """A field of the form that must be filled in."""
    return Param(default, type="string", minLength=1, title=title, description=description)


with DAG(
    dag_id="clip_migrate_encoder",
    description="Fill a new table with another encoder, and switch its readers.",
    doc_md=DOC,
    schedule=None,
    # Two at a time would embed the same images, and one of them for nothing.
    max_active_runs=1,
    tags=["clipflow", "maintenance"],
    default_args={"owner": "clipflow", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "table": text("s3://my-lake/images.lance", "Table", "The old table: path or s3:// URI, ending in .lance."),
        "encoder": text("openai/clip-vit-base-patch32", "Encoder", "A Hugging Face id, a folder, or demo."),
        "new_table": Param(
            None,
            type=["null", "string"],
            title="New table",
            description="Path or s3:// URI, ending in .lance. Empty, beside the old one and named by the encoder.",
        ),
        "policy": Param(
            None,
            type=["null", "object"],
            title="Policy",
            description="The rules, as under policy: in a job. Empty, those of the old table, if none is on vectors.",
        ),
        "limit": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Limit",
            description="At most so many images now; readers are switched when none is left.",
        ),
        "conn_id": conn_id_param(),
    },
) as dag:
    MigrateEncoderOperator(
        task_id="migrate_encoder",
        table="{{ params.table }}",
        encoder="{{ params.encoder }}",
        new_table="{{ params.new_table or '' }}",
        policy="{{ params.policy | tojson if params.policy else '' }}",
        limit="{{ params.limit or '' }}",
        conn_id="{{ params.conn_id }}",
        ray=os.environ.get("CLIPFLOW_RAY"),
        pool=os.environ.get("CLIPFLOW_POOL", "default_pool"),
        outlets=[Asset("clip_embeddings")],
    )
