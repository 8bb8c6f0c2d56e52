"""Where a driver runs and in what environment: checked where the DAG is read, and nothing that Airflow stores."""

import json
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from clipflow.errors import UsageError
from clipflow_airflow import (
    AuditTableOperator,
    EmbedImagesOperator,
    ForgetImagesOperator,
    JudgeTableOperator,
    MaintainTableOperator,
    MigrateEncoderOperator,
)
from clipflow_airflow.driver import check, request
from clipflow_airflow.submission import Command, TaskKey

SECRET = "hf_ZcQ3vKx8"
KEY = TaskKey("d", "r", "t", -1, 0)
OPERATORS = {
    EmbedImagesOperator: {"job": "job.yaml"},
    MaintainTableOperator: {"table": "t.lance"},
    JudgeTableOperator: {"table": "t.lance", "policy": "policy.yaml"},
    AuditTableOperator: {"table": "t.lance"},
    ForgetImagesOperator: {"table": "t.lance", "where": "width = 1"},
    MigrateEncoderOperator: {"table": "t.lance", "encoder": "demo"},
}


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"runtime_env": ["pip"]}, "`runtime_env` is no mapping."),
        ({"runtime_env": "pip: [a"}, "`runtime_env` is no mapping."),
        ({"runtime_env": {"env_var": {"A": SECRET}}}, "`runtime_env` has no field 'env_var'. Did you mean 'env_vars'?"),
        ({"runtime_env": {"env_vars": [SECRET]}}, "`runtime_env.env_vars` is no mapping."),
        ({"runtime_env": {"env_vars": {"A": 1}}}, "`runtime_env.env_vars.A` is no text."),
        ({"runtime_env": {"env_vars": {"A": SECRET + "\0"}}}, "`runtime_env.env_vars.A` is no text."),
        ({"runtime_env": {"env_vars": {"A=B": SECRET}}}, "has a name that no variable can have: 'A=B'."),
        ({"runtime_env": {"pip": ["a"], "uv": ["b"]}}, "`runtime_env` holds pip and uv, and Ray takes one of them."),
        ({"runtime_env": {"pip": {SECRET}}}, "`runtime_env` holds what JSON cannot"),
        ({"entrypoint_num_cpus": -1}, "`entrypoint_num_cpus` is no number from 0 on: -1."),
        ({"entrypoint_num_cpus": True}, "`entrypoint_num_cpus` is no number from 0 on: True."),
        ({"entrypoint_num_gpus": "many"}, "`entrypoint_num_gpus` is no number from 0 on: 'many'."),
        ({"entrypoint_num_gpus": "nan"}, "`entrypoint_num_gpus` is no number from 0 on: 'nan'."),
        ({"entrypoint_memory": "4 GB"}, "`entrypoint_memory` is no number from 0 on: '4 GB'."),
        ({"entrypoint_memory": 0.5}, "`entrypoint_memory` is no whole number of bytes: 0.5."),
        ({"entrypoint_resources": "driver"}, "`entrypoint_resources` is no mapping."),
        ({"entrypoint_resources": {"driver": "x"}}, "`entrypoint_resources.driver` is no number from 0 on: 'x'."),
        ({"entrypoint_resources": {"CPU": 1}}, "cannot hold 'CPU'. Its argument is entrypoint_num_cpus."),
    ],
)
def test_what_ray_would_not_take_is_refused_where_the_dag_is_read(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        MaintainTableOperator(task_id="m", table="t.lance", **given)
    assert sentence in str(caught.value)
    assert SECRET not in str(caught.value)


def test_what_is_set_is_sent_as_ray_names_it() -> None:
    rendered = {
        "runtime_env": '{"env_vars": {"HF_TOKEN": "t"}, "pip": ["a"], "conda": null}',
        "entrypoint_num_cpus": "0.5",
        "entrypoint_num_gpus": "",
        "entrypoint_memory": "2000000000",
        "entrypoint_resources": {"driver": "1"},
    }
    driver = request(rendered)
    body = Command(["run"], {"CLIPFLOW_JOB": "{}"}, {"job": "j"}, driver).request("id", KEY)
    assert body == {
        "submission_id": "id",
        "entrypoint": "python -m clipflow run",
        "runtime_env": {"env_vars": {"HF_TOKEN": "t", "CLIPFLOW_JOB": "{}"}, "pip": ["a"]},
        "metadata": {"job": "j", **KEY.metadata()},
        "entrypoint_num_cpus": 0.5,
        "entrypoint_memory": 2_000_000_000,
        "entrypoint_resources": {"driver": 1.0},
    }
    assert Command(["run"]).request("id", KEY).keys() == {"submission_id", "entrypoint", "runtime_env", "metadata"}


def test_a_variable_of_the_operator_is_its_own() -> None:
    command = Command(["run"], {"CLIPFLOW_JOB": "{}"}, driver={"runtime_env": {"env_vars": {"CLIPFLOW_JOB": SECRET}}})
    with pytest.raises(UsageError, match="set CLIPFLOW_JOB, which the operator sets itself") as caught:
        command.request("id", KEY)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(command)


def test_templates_wait_for_the_run() -> None:
    given = {"runtime_env": "{{ params.env }}", "entrypoint_num_cpus": "{{ params.cpus }}"}
    check({**given, "entrypoint_resources": {"driver": "{{ params.n }}"}})
    with pytest.raises(UsageError, match="entrypoint_num_cpus"):
        request(given | {"runtime_env": None})


@pytest.mark.parametrize("kind", OPERATORS)
def test_airflow_stores_no_secret_of_the_environment(kind: Any) -> None:
    given = {"runtime_env": {"env_vars": {"HF": SECRET}}, "entrypoint_num_cpus": 1, "entrypoint_resources": {"x": 2}}
    more = dict(OPERATORS[kind])
    name = next(iter(more))
    with DAG("d") as dag:
        plain = kind(task_id="plain", **more, **given)
        mapped = kind.partial(task_id="mapped", **{key: more[key] for key in more if key != name}, **given)
        mapped = mapped.expand(**{name: [more[name]] * 2})
    stored = json.dumps(DagSerialization.to_dict(dag))
    assert SECRET not in stored
    assert DagSerialization.from_dict(json.loads(stored)).task_dict.keys() == {"plain", "mapped"}
    assert "runtime_env" not in kind.template_fields
    for task in (plain, mapped.unmap({name: more[name]})):
        assert {key: getattr(task, key) for key in given} == given
