"""One wheel, two images: Airflow without a model, Ray without Airflow, and what is said where the engine is missing."""

import json
import re
import shlex

import pytest
from packaging.utils import canonicalize_name

import clipflow
from tests.images.install import ROOT, Image

HEAVY = {"torch", "ray", "pylance", "lancedb", "pyarrow", "numpy", "transformers", "duckdb", "pillow"}
INSTALL = 'pip install "clipflow[engine]"'
JOB = "{name: n, source: {uri: images/}, encoder: {model: demo}, table: {uri: t.lance}}"


def constraints() -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text("utf-8")):
        pins.setdefault(name, set()).add(version)
    return pins


def test_airflows_image_has_no_engine_and_keeps_to_the_constraints(airflow_image: Image) -> None:
    airflow_image.run("python", "-m", "pip", "check")
    listed = json.loads(airflow_image.run("python", "-m", "pip", "list", "--format=json").stdout)
    found = {canonicalize_name(one["name"]): one["version"] for one in listed}
    # These come with a new environment.
    del found[canonicalize_name("pip")], found[canonicalize_name("setuptools")]
    assert {"clipflow", "apache-airflow", "apache-airflow-providers-standard", "asyncpg", "psycopg2-binary"} < set(
        found
    )
    assert not set(found) & HEAVY
    pins = constraints()
    assert {name: version for name, version in found.items() if version not in pins.get(name, set())} == {
        "clipflow": clipflow.__version__
    }


def test_airflows_image_knows_the_provider_and_the_plugin(airflow_image: Image) -> None:
    providers = json.loads(airflow_image.run("airflow", "providers", "list", "--output=json").stdout)
    assert "clipflow" in {one["package_name"] for one in providers}
    plugins = json.loads(airflow_image.run("airflow", "plugins", "--output=json").stdout)
    assert "clipflow" in {one["name"] for one in plugins}


def test_every_dag_imports_in_airflows_image(airflow_image: Image) -> None:
    code = """
import json
from airflow.dag_processing.dagbag import DagBag
bag = DagBag()
print(json.dumps([bag.import_errors, sorted(bag.dags)]))
"""
    airflow_image.run("airflow", "db", "migrate")
    errors, dags = json.loads(airflow_image.run("python", "-c", code).stdout.splitlines()[-1])
    assert errors == {}
    files = {path.stem for path in (ROOT / "dags").glob("*.py")}
    # Watching uploads is a DAG only where a prefix is named.
    assert files - set(dags) <= {"clip_embed_uploads"}
    assert len(dags) >= 2


def test_airflows_image_lists_uploads_without_the_engine(airflow_image: Image) -> None:
    folder = airflow_image.folder / "uploads"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"x")
    code = """
import sys
from clipflow_airflow import NewUploadsTrigger
from clipflow_airflow.prefix import Prefix
print(NewUploadsTrigger.__name__, sum(map(len, Prefix.of(sys.argv[1], None).pages())))
"""
    assert airflow_image.run("python", "-c", code, str(folder)).stdout.split() == ["NewUploadsTrigger", "2"]


@pytest.mark.parametrize(
    "call", ["run job.yaml", "plan job.yaml", "doctor job.yaml", "demo", "search t.lance cat", "sql t.lance 'select 1'"]
)
def test_without_the_engine_a_verb_says_how_to_install_it(airflow_image: Image, call: str) -> None:
    (airflow_image.home / "job.yaml").write_text(JOB)
    plain = airflow_image.run("clipflow", *shlex.split(call), ends=2)
    assert plain.stdout == ""
    (line,) = plain.stderr.splitlines()
    assert line.startswith("clipflow: ")
    assert line.endswith(f" is not installed: clipflow is here without its engine. Run: {INSTALL}")
    error = json.loads(airflow_image.run("clipflow", *shlex.split(call), "--json", ends=2).stdout)["error"]
    assert error["class"] == "MissingEngine"
    assert INSTALL in error["mend"]
    assert error["retryable"] is False


def test_without_the_engine_the_rest_of_the_command_line_works(airflow_image: Image) -> None:
    assert airflow_image.run("clipflow", "--version").stdout == f"clipflow {clipflow.__version__}\n"
    assert "no job file" in airflow_image.run("clipflow", "run", "missing.yaml", ends=2).stderr


def test_without_the_engine_a_local_task_says_how_to_install_it(airflow_image: Image) -> None:
    code = """
import sys
from pathlib import Path
from clipflow_airflow.sandbox import Sandbox
sandbox = Sandbox(Path("sandbox").absolute(), Path(sys.argv[1]))
sandbox.open()
form = {"uri": "/images/", "table": "/t.lance", "model": "demo", "conn_id": "local"}
print(sandbox.run("clip_embed_on_demand", None, form).state)
"""
    done = airflow_image.run("python", "-c", code, str(ROOT / "dags"))
    assert done.stdout.splitlines()[-1] == "failed"
    assert INSTALL in (done.stdout + done.stderr).replace('\\"', '"')


def test_rays_image_has_no_airflow_and_keeps_to_the_constraints(ray_resolution: dict[str, str]) -> None:
    assert {"clipflow", "torch", "ray", "pylance", "aiohttp-cors"} < set(ray_resolution)
    assert not [name for name in ray_resolution if "airflow" in name]
    pins = constraints()
    wrong = {
        name: version for name, version in ray_resolution.items() if version.split("+")[0] not in pins.get(name, ())
    }
    assert wrong == {"clipflow": clipflow.__version__}
