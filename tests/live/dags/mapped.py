"""All operators in a mapped task group, and each of them mapped: over the tables of some shops, here or on Ray."""

from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, Param, chain, task, task_group

from clipflow_airflow import (
    AuditTableOperator,
    EmbedImagesOperator,
    ForgetImagesOperator,
    JudgeTableOperator,
    MaintainTableOperator,
    MigrateEncoderOperator,
)

POLICY = {"rules": [{"name": "small", "score": "min_side", "reject_below": 45}]}
OTHER: dict[str, Any] = {"encoder": "stub:dim=8", "sets": ["encoder.loader=stub"]}


@task
def shops(params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """A shop for each folder of images: its job, its table, the table of another encoder, and what it forgets."""
    assert params is not None
    found = []
    for folder in sorted(Path(params["images"]).iterdir()):
        table = f"{params['lake']}/{folder.name}.lance"
        job = {"name": folder.name, "source": {"uri": f"{folder}/"}, "table": {"uri": table}}
        job["encoder"] = {"model": "stub:dim=16", "loader": "stub"}
        first = [str(path) for path in sorted(folder.iterdir())[:1]]
        found.append(
            {"job": job, "table": table, "new_table": f"{params['lake']}/{folder.name}-8.lance", "uris": first}
        )
    return found


def mapped_dag(dag_id: str) -> DAG:
    return DAG(
        dag_id=dag_id,
        schedule=None,
        is_paused_upon_creation=False,
        default_args={
            "owner": "test",
            "retries": 0,
            "conn_id": "{{ params.conn_id }}",
            "entrypoint_num_cpus": "{{ params.cpus }}",
            "runtime_env": {"env_vars": {"SHOP_TOKEN": "{{ var.value.get('shop_word', 'none') }}"}},
        },
        params={
            "images": Param("/nowhere", type="string"),
            "lake": Param("/nowhere", type="string"),
            "conn_id": Param("local", type="string"),
            "fail_if": Param("rows > 3", type="string"),
            "cpus": Param("0.5", type="string"),
        },
    )


with mapped_dag("mapped_group"):

    @task_group
    def shop(job: Any, table: Any, new_table: Any, uris: Any) -> None:
        chain(
            EmbedImagesOperator(task_id="embed", job=job),
            AuditTableOperator(
                task_id="gate",
                table="{{ ti.xcom_pull(task_ids='shop.embed', map_indexes=ti.map_index)['table'] }}",
                fail_if="{{ params.fail_if }}",
                gates="embed",
                outlets=[Asset("shops")],
            ),
            [
                JudgeTableOperator(task_id="judge", table=table, policy=POLICY),
                MaintainTableOperator(task_id="maintain", table=table),
            ],
            ForgetImagesOperator(task_id="forget", table=table, uris=uris),
            MigrateEncoderOperator(task_id="migrate", table=table, new_table=new_table, **OTHER),
        )

    shop.expand_kwargs(shops())


def only(*names: str) -> Any:
    """Some of what is known about a shop."""
    return lambda one: {name: one[name] for name in names}


with mapped_dag("gate_of_nothing"):
    AuditTableOperator(task_id="gate", table="t.lance", gates="embd")

with mapped_dag("mapped_tasks"):
    every = shops()
    tables = every.map(only("table"))
    embed = EmbedImagesOperator.partial(task_id="embed").expand_kwargs(every.map(only("job")))
    # One behind all of them, about the table of one, and without a condition.
    embed >> AuditTableOperator(
        task_id="whole", table="{{ params.lake }}/europe.lance", gates="embed", outlets=[Asset("europe")]
    )
    chain(
        embed,
        AuditTableOperator.partial(
            task_id="gate", fail_if="{{ params.fail_if }}", gates="embed", outlets=[Asset("shops")]
        ).expand_kwargs(tables),
        # Whatever the gates say.
        JudgeTableOperator.partial(task_id="judge", policy=POLICY, trigger_rule="all_done").expand_kwargs(tables),
        MaintainTableOperator.partial(task_id="maintain").expand_kwargs(tables),
        ForgetImagesOperator.partial(task_id="forget").expand_kwargs(every.map(only("table", "uris"))),
        MigrateEncoderOperator.partial(task_id="migrate", **OTHER).expand_kwargs(every.map(only("table", "new_table"))),
    )
