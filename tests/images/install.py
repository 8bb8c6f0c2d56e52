"""What an image holds, in a clean environment: the wheel, the constraints and the script that the Dockerfiles use."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from tests import guardian

ROOT = Path(__file__).parents[2]
MINUTES = 60


class Image:
    """A clean environment, and how a process in the image would be started.

    Args:
        folder: An empty folder; the environment lies in it, and Airflow's home.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        venv.create(folder / "venv", with_pip=True)
        self.home.mkdir()
        kept = {key: os.environ[key] for key in os.environ if key.startswith("PIP_") or key.endswith("_PROXY")}
        self.environment = {
            **kept,
            # Most modules are never imported here.
            "PIP_NO_COMPILE": "1",
            # A long installation ends with the run that waits for it.
            guardian.MARK: os.environ.get(guardian.MARK, ""),
            "PATH": f"{folder / 'venv' / 'bin'}:/usr/bin:/bin",
            "HOME": str(self.home),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        }

    def run(self, *command: str, ends: int | None = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """A program of the environment; `ends` is the exit code it must have."""
        # Not beside our sources: the installed package is what counts.
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=15 * MINUTES,
            cwd=self.home,
            env={**self.environment, **more},
        )
        assert ends is None or done.returncode == ends, done.stdout + done.stderr
        return done

    def install(self, what: str, wheels: Path, **more: str) -> None:
        """As the Dockerfile does."""
        script, constraints = ROOT / "docker" / "install.sh", ROOT / "constraints.txt"
        self.run("sh", str(script), what, str(constraints), str(wheels), ends=0, **more)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the one wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=10 * MINUTES, cwd=folder)
    return folder


@pytest.fixture(scope="session")
def airflow_image(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """Airflow's image, installed."""
    image = Image(tmp_path_factory.mktemp("airflow-image"))
    image.install("airflow", wheels)
    return image


@pytest.fixture(scope="session")
def ray_resolution(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Ray's image, resolved by pip to names and versions, and not installed: it weighs 2.3 GB."""
    image = Image(tmp_path_factory.mktemp("ray-image"))
    report = image.folder / "report.json"
    image.install("ray", wheels, PIP_DRY_RUN="1", PIP_REPORT=str(report))
    found: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return {canonicalize_name(one["metadata"]["name"]): one["metadata"]["version"] for one in found}
