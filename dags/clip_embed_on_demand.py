"""Embed a folder or bucket now, as filled in on the form."""

import os
from datetime import timedelta

from airflow.sdk import DAG, Asset, Param

from clipflow_airflow import EmbedImagesOperator, conn_id_param

DOC = """
### clip_embed_on_demand
Trigger it, fill in the form, and the images under the address are embedded into the table.
What the table holds already is not done again, so the same form twice does the work once.
A table holds one encoder: another model needs another table.
"""

# A form's values reach the job through tojson only, so no text in a field can become a key.
JOB = """
name: {{ params.name | tojson }}
source: {uri: {{ params.uri | tojson }}, window: {{ params.window | tojson }}}
encoder: {model: {{ params.model | tojson }}, revision: {{ params.revision | tojson }}}
policy: {{ params.policy | tojson }}
table: {uri: {{ params.table | tojson }}}
"""


def text(default: str, title: str, description: str) -> Param:
    """A field of the form that must be filled in."""
    return Param(default, type="string", minLength=1, title=title, description=description)


def moment(title: str, description: str) -> Param:
    """A field of the form that may hold a time."""
    return Param(None, type=["null", "string"], format="date-time", title=title, description=description)


with DAG(
    dag_id="clip_embed_on_demand",
    description="Embed a folder or bucket now.",
    doc_md=DOC,
    schedule=None,
    max_active_runs=8,
    tags=["clipflow", "embeddings"],
    default_args={"owner": "clipflow", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "uri": text("s3://my-bucket/uploads/", "Images", "A folder, an s3:// prefix, or a glob."),
        "table": text("s3://my-lake/images.lance", "Table", "Where the rows go; must end in .lance."),
        "model": text("openai/clip-vit-base-patch32", "Model", "A Hugging Face id, a folder, or demo."),
        "revision": Param(None, type=["null", "string"], title="Revision", description="Commit of the model."),
        "window": Param(
            "all", enum=["all", "modified", "path"], title="Window", description="Which images to look at."
        ),
        "start": moment("From", "Window modified: images modified from here on. Window path: the first day."),
        "end": moment("Until", "Window modified: images modified before. Window path: the day after the last."),
        "policy": Param(
            {"rules": []}, type="object", title="Policy", description="The rules, as under policy: in a job."
        ),
        "name": text("on_demand", "Name", "Recorded in every row as the job."),
        "conn_id": conn_id_param(),
    },
) as dag:
    EmbedImagesOperator(
        task_id="embed_images",
        job=JOB,
        conn_id="{{ params.conn_id }}",
        interval=("{{ params.start or '' }}", "{{ params.end or '' }}"),
        ray=os.environ.get("CLIPFLOW_RAY"),
        pool=os.environ.get("CLIPFLOW_POOL", "default_pool"),
        outlets=[Asset("clip_embeddings")],
    )
