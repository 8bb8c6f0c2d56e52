"""What Airflow's database keeps of us while tasks wait: read by Airflow's own hands, and made into our classes."""

# ruff: noqa: TID251 - only Airflow's own deserialisers tell what it will make of its database

import json
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

import pytest
from airflow.models.trigger import Trigger
from airflow.sdk.module_loading import import_string  # type: ignore[attr-defined]  # it does not say that it exports it
from airflow.sdk.serde import deserialize
from airflow.serialization.serialized_objects import DagSerialization
from airflow.triggers.base import BaseEventTrigger

from clipflow_airflow.embed import EmbedImagesOperator
from clipflow_airflow.follow import Outcome
from clipflow_airflow.links import run_page_url
from clipflow_airflow.operator import ClipflowOperator
from clipflow_airflow.sketch import Sketch
from clipflow_airflow.trigger import LOG_KEY
from clipflow_airflow.uploads import NewUploadsTrigger
from tests.golden.reading import HERE

STORED: dict[str, Any] = json.loads((HERE / "airflow.json").read_text("utf-8"))


@pytest.mark.parametrize("row", STORED["triggers"])
def test_a_trigger_goes_on(row: dict[str, Any]) -> None:
    """As the triggerer makes it: the kwargs are decrypted, the class is imported and called with them."""
    kwargs = Trigger._decrypt_kwargs(row["stored"])
    assert kwargs == row["kwargs"]
    trigger = import_string(row["classpath"])(**kwargs)
    # Airflow finds the trigger of a watcher again by a hash over these.
    assert trigger.serialize() == (row["classpath"], row["kwargs"])
    assert Trigger._decrypt_kwargs(Trigger.encrypt_kwargs(trigger.serialize()[1])) == row["kwargs"]


def test_the_watcher_in_a_stored_dag_is_the_trigger_that_waits() -> None:
    """Airflow tells by classpath and kwargs whether the trigger of a watcher runs already."""
    dag = DagSerialization.from_dict(json.loads(json.dumps(STORED["dags"]["clip_embed_uploads"])))
    ((_, asset),) = dag.timetable.asset_condition.iter_assets()
    (watcher,) = asset.watchers
    classpath, kwargs = NewUploadsTrigger("s3://acme/uploads/", poll_seconds=60.0).serialize()
    stored: Any = watcher.trigger
    assert BaseEventTrigger.hash(stored["classpath"], stored["kwargs"]) == BaseEventTrigger.hash(classpath, kwargs)


@pytest.mark.parametrize("kwargs", STORED["resumed"]["next_kwargs"])
def test_a_deferred_task_goes_on(kwargs: dict[str, Any]) -> None:
    found: Any = deserialize(kwargs)
    assert callable(getattr(ClipflowOperator, STORED["resumed"]["next_method"]))
    assert Outcome(**found["event"]).event() == found["event"]


@pytest.mark.parametrize("case", STORED["uploads"])
def test_a_watcher_finds_its_memory(case: dict[str, Any]) -> None:
    assert NewUploadsTrigger(case["uri"])._key == case["key"]


def test_a_watcher_reads_its_memory() -> None:
    kept, now = Sketch.read(STORED["sketch"]["text"]), Sketch()
    for uri, modified in STORED["sketch"]["objects"]:
        now.add(uri, modified)
    assert kept == now
    assert now.since(kept) == []
    now.add("s3://acme/uploads/new.jpg", 1_764_000_001_000_000)
    assert now.since(kept) == [1_764_000_001_000_000]


def test_links_find_what_tasks_have_pushed() -> None:
    assert STORED["xcom"]["log"] == LOG_KEY
    for name, link in STORED["xcom"]["links"].items():
        made = import_string(link["class"])()
        assert (made.name, made.xcom_key) == (name, link["key"])


def test_the_provider_names_what_it_named() -> None:
    (entry,) = [
        one for one in entry_points(group="apache_airflow_provider") if one.module == "clipflow_airflow.provider"
    ]
    now, then = entry.load()(), STORED["provider"]
    assert now["package-name"] == then["package"]
    assert set(now["extra-links"]) >= set(then["links"])
    connections = {one["connection-type"]: one for one in now["connection-types"]}
    for kind, hook in then["connections"].items():
        assert connections[kind]["hook-class-name"] == hook
        assert set(connections[kind]["conn-fields"]) >= set(then["fields"])
        assert import_string(hook)
    for module in (*then["triggers"], *then["operators"], *then["hooks"]):
        assert import_module(module)
    for link in then["links"]:
        assert import_string(link)


def test_the_plugin_and_its_addresses_stay() -> None:
    then = STORED["plugin"]
    (entry,) = [one for one in entry_points(group="airflow.plugins") if one.value == then["entry_point"]]
    plugin = entry.load()
    assert plugin.name == then["name"]
    assert then["url_route"] in [view["url_route"] for view in plugin.external_views]
    # Bookmarks, and what links have pushed.
    assert run_page_url("täg/lich", "manual__2026-11-28T05:00:00+00:00", "a.b", 3) == then["page"]


@pytest.mark.parametrize("name", STORED["dags"])
def test_a_stored_dag_is_read(name: str) -> None:
    stored = STORED["dags"][name]
    dag = DagSerialization.from_dict(json.loads(json.dumps(stored)))
    assert dag.dag_id == name
    tasks = {task["__var"]["task_id"]: task["__var"] for task in stored["dag"]["tasks"]}
    assert dag.task_dict.keys() == tasks.keys()
    for task_id, task in tasks.items():
        links = {link.name: link.xcom_key for link in dag.get_task(task_id).operator_extra_links}
        assert links == task["_operator_extra_links"]
        operator = getattr(import_module(task["_task_module"]), task["task_type"])
        assert issubclass(operator, ClipflowOperator)
        # The scheduler renders these of what it has stored; a worker of a later version makes the task anew.
        assert set(operator.template_fields) >= set(task["template_fields"])


def test_a_stored_task_has_the_arguments_that_it_was_given() -> None:
    dag = DagSerialization.from_dict(json.loads(json.dumps(STORED["dags"]["clip_embed_daily"])))
    task = dag.get_task("embed_images")
    given = {name: getattr(task, name) for name in ("job", "conn_id", "window", "sets")}
    assert EmbedImagesOperator(task_id="again", **given).sets == ["source.lateness=6h"]
    assert dag.timetable.summary == "0 0 * * *"
