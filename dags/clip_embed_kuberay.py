"""Embed on a Ray cluster that exists only while it is needed; needs Kubernetes with the KubeRay operator."""

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.cncf.kubernetes.operators.resource import (
    KubernetesCreateResourceOperator,
    KubernetesDeleteResourceOperator,
)
from airflow.sdk import DAG, Asset, CronDataIntervalTimetable

from clipflow_airflow import EmbedImagesOperator, job_file_param

DOC = """
### clip_embed_kuberay
Makes a Ray cluster, embeds the day's images on it, and removes it, whatever came of the embedding.

* The setup and teardown tasks belong to the embedding: clearing it makes the cluster anew, and a failure
  of it never keeps the cluster.
* Put the cluster into `CLIPFLOW_RAY_CLUSTER`, the YAML of a `RayCluster` named `clipflow` of the image of docker/.
* The connection `ray_kuberay` leads to it: host `http://clipflow-head-svc.ray.svc:8265`, password the token.
* One run at a time, since all share that name.
"""

SPEC = os.environ.get("CLIPFLOW_RAY_CLUSTER", "kind: RayCluster\nmetadata: {name: clipflow, namespace: ray}\n")
CLUSTER: dict[str, Any] = {"yaml_conf": SPEC, "custom_resource_definition": True, "namespaced": True}

with DAG(
    dag_id="clip_embed_kuberay",
    description="Embed each day's new images on a cluster made for it.",
    doc_md=DOC,
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["clipflow", "embeddings", "example"],
    default_args={"owner": "clipflow", "retries": 2, "retry_delay": timedelta(minutes=5)},
    params={
        "job_file": job_file_param(),
    },
) as dag:
    # Airflow leaves `as_setup` untyped.
    make_cluster = KubernetesCreateResourceOperator(task_id="make_cluster", **CLUSTER).as_setup()  # type: ignore[no-untyped-call]
    remove_cluster = KubernetesDeleteResourceOperator(task_id="remove_cluster", **CLUSTER).as_teardown(
        setups=make_cluster
    )
    embed_images = EmbedImagesOperator(
        task_id="embed_images",
        job="{{ params.job_file }}",
        conn_id="ray_kuberay",
        window="modified",
        sets=["source.lateness=6h"],
        # The head's image may have to be pulled first.
        cluster_timeout=timedelta(minutes=15),
        pool=os.environ.get("CLIPFLOW_POOL", "default_pool"),
        outlets=[Asset("clip_embeddings")],
    )
    make_cluster >> embed_images >> remove_cluster
