"""The compose stack: what its files promise, by the real tools that read such files. No Docker is needed, or run."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.configuration import conf
from airflow.sdk import Connection

from clipflow.jobfile import read_job
from clipflow_airflow.hook import RayJobsHook

DOCKER = Path(__file__).parents[2] / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
SCRIPTS = sorted(DOCKER.glob("*.sh"))
# A value that nobody would write, so that it is found again wherever it goes.
SECRET = "5ecre7"
ONCE = {"airflow-init"}


def tool(name: str) -> str:
    """A program of this environment's, or of the system's."""
    found = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    if found is None:
        pytest.skip(f"{name} is not installed; on Debian: apt-get install {name}")
    return found


def required() -> list[str]:
    """The variables that must be set, as .env.example leaves them empty."""
    return re.findall(r"(?m)^([A-Z_]+)=$", (DOCKER / ".env.example").read_text("utf-8"))


def composed(variables: dict[str, str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """What docker-compose makes of the file; nothing of our own environment reaches it but PATH."""
    environment = tmp_path / "env"
    environment.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    command = [tool("docker-compose"), "-f", str(DOCKER / "compose.yaml"), "--env-file", str(environment), "config"]
    return subprocess.run(command, capture_output=True, text=True, timeout=500, env={"PATH": "/usr/bin:/bin"})


@pytest.fixture
def services(tmp_path: Path) -> dict[str, Any]:
    """Every service with merges and variables resolved."""
    done = composed(dict.fromkeys(required(), SECRET), tmp_path)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return found


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_hadolint_has_nothing_to_say(path: Path) -> None:
    done = subprocess.run([tool("hadolint"), "--no-color", str(path)], capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("path", [*SCRIPTS, DOCKER.parent / ".ci" / "run"], ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(path: Path) -> None:
    done = subprocess.run([tool("shellcheck"), str(path)], capture_output=True, text=True, timeout=500)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_images_hold_the_same_wheel() -> None:
    airflow, ray = (
        (DOCKER / f"{name}.Dockerfile").read_text("utf-8").split("FROM ${PYTHON_IMAGE}\n")[0].partition("\nARG ")[2]
        for name in ("airflow", "ray")
    )
    assert "pip wheel" in airflow
    assert airflow == ray


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_runs_as_nobody_special_and_says_how_it_is(path: Path) -> None:
    last = path.read_text("utf-8").rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d+$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last, re.MULTILINE)
    assert not re.search(r"(PASSWORD|TOKEN|SECRET|ACCESS_KEY)", path.read_text("utf-8"))


def test_what_the_images_copy_is_what_the_builder_gets() -> None:
    """.dockerignore hides everything but what the Dockerfiles name."""
    kept = re.findall(r"(?m)^!(.+)$", (DOCKER.parent / ".dockerignore").read_text("utf-8"))
    named: set[str] = set()
    for path in DOCKERFILES:
        text = path.read_text("utf-8")
        named |= {word for line in re.findall(r"(?m)^COPY (.+) \S+$", text) for word in line.split()}
        named |= set(re.findall(r"type=bind,source=([^,]+)", text))
    assert named == set(kept)
    assert all((DOCKER.parent / name).exists() for name in kept)


def test_nothing_starts_without_its_secrets(tmp_path: Path) -> None:
    assert len(required()) > 5
    for name in required():
        done = composed(dict.fromkeys(required(), SECRET) | {name: ""}, tmp_path)
        assert done.returncode != 0
        assert f"Set {name} in docker/.env" in done.stderr


def test_no_secret_is_written_into_the_file(services: dict[str, Any]) -> None:
    """What looks like a secret is exactly what came from outside."""
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD$|TOKEN|SECRET|FERNET|ACCESS_KEY", key):
                assert value == SECRET, f"{name}: {key}"
        # A command line is for everybody to read.
        assert SECRET not in json.dumps([service.get("command"), service.get("healthcheck"), service.get("build")])


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(str(port).startswith("127.0.0.1:") for port in ports)


def test_every_service_is_guarded(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert int(service["user"].partition(":")[0]) > 0, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["read_only"] is True, name
        assert not service.get("privileged"), name


def test_every_service_is_watched_and_waited_for(services: dict[str, Any]) -> None:
    assert {"postgres", "store", "airflow-init", "ray-head", "ray-worker"} < set(services)
    for name, service in services.items():
        assert ("healthcheck" in service) is (name not in ONCE), name
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == ("service_completed_successfully" if other in ONCE else "service_healthy")
    four = {"api", "scheduler", "triggerer", "dag-processor"}
    assert {name for name, one in services.items() if "airflow-init" in one.get("depends_on", {})} == {
        f"airflow-{name}" for name in four
    }


def test_images_are_pinned_or_built_here(services: dict[str, Any]) -> None:
    for name, service in services.items():
        if "build" in service:
            assert (DOCKER.parent / service["build"]["dockerfile"]).is_file(), name
        else:
            assert re.fullmatch(r"[a-z]+:\d+\.\d+-\w+", service["image"]), name


def test_mounted_files_are_there(services: dict[str, Any]) -> None:
    sources = [volume.split(":")[0] for one in services.values() for volume in one.get("volumes", [])]
    files = [Path(source) for source in sources if source.startswith("/")]
    assert {path.name for path in files} == {"dags", "init.sh", "job.yaml"}
    assert all(path.exists() for path in files)


def test_airflow_knows_every_setting(services: dict[str, Any]) -> None:
    known = {
        f"AIRFLOW__{section}__{option}".upper()
        for section, description in conf.configuration_description.items()
        for option in description["options"]
    }
    used = {key for one in services.values() for key in one.get("environment", {}) if key.startswith("AIRFLOW__")}
    assert "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in used
    assert used <= known


def test_airflow_reads_the_connection_to_ray(services: dict[str, Any]) -> None:
    connection = Connection.from_json(services["airflow-scheduler"]["environment"]["AIRFLOW_CONN_RAY_DEFAULT"])
    assert connection.conn_type == RayJobsHook.conn_type
    assert connection.host == "http://ray-head:8265"
    assert connection.password == SECRET == services["ray-head"]["environment"]["RAY_AUTH_TOKEN"]


def test_the_job_file_is_one() -> None:
    spec = read_job(str(DOCKER / "job.yaml"), ["source.window=modified", "source.lateness=6h"])
    assert spec.source.uri == "s3://uploads/"


def test_make_env_fills_in_every_secret_once(tmp_path: Path) -> None:
    for name in ("make-env.sh", ".env.example"):
        shutil.copy(DOCKER / name, tmp_path)
    first = subprocess.run(["sh", str(tmp_path / "make-env.sh")], capture_output=True, text=True, timeout=500)
    assert first.returncode == 0, first.stderr
    written = tmp_path / ".env"
    assert written.stat().st_mode & 0o077 == 0
    values = dict(re.findall(r"(?m)^([A-Z_]+)=(.+)$", written.read_text()))
    assert set(required()) < set(values)
    secrets = [values[name] for name in required()]
    assert len(set(secrets)) == len(secrets)
    assert min(map(len, secrets)) >= 44
    assert not any(secret in first.stdout for secret in secrets)
    assert len(base64.urlsafe_b64decode(values["AIRFLOW_FERNET_KEY"])) == 32
    assert composed(values, tmp_path).returncode == 0

    again = subprocess.run(["sh", str(tmp_path / "make-env.sh")], capture_output=True, text=True, timeout=500)
    assert again.returncode == 1
    assert dict(re.findall(r"(?m)^([A-Z_]+)=(.+)$", written.read_text())) == values
