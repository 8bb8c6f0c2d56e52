"""Airflow of the stack: its settings, its four processes, its REST API."""

import base64
import json
import os
import secrets
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from clipflow_airflow.stack import http
from clipflow_airflow.stack.errors import ApiError
from clipflow_airflow.stack.home import Home
from clipflow_airflow.stack.service import Service

USER = "admin"
# `python -P`: a folder beside the caller must not pass for a package.
AIRFLOW = (sys.executable, "-P", "-m", "airflow")
_PROCESSES = {
    "api-server": ("api-server",),
    # Log servers would listen on all interfaces; on one machine the log files are read directly.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
}


def settings(home: Home, dags: Path, port: int, database: Mapping[str, str]) -> dict[str, str]:
    """Airflow's whole configuration, as variables.

    Args:
        home: The stack's folder.
        dags: The folder of DAG files.
        port: Where the web UI and the API answer.
        database: SQLAlchemy addresses by their key in the section `database`.
    """
    url = f"http://127.0.0.1:{port}"
    given: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": dags.absolute(),
            "load_examples": False,
            "executor": "LocalExecutor",
            # A process each, forked at once; deferred tasks need none.
            "parallelism": 8,
            "fernet_key": home.secret("fernet-key", lambda: base64.urlsafe_b64encode(os.urandom(32)).decode()),
            "execution_api_server_url": f"{url}/execution/",
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": home.secrets / "passwords.json",
            "test_connection": "Enabled",
        },
        "api": {"host": "127.0.0.1", "port": port, "base_url": url, "workers": 1, "secret_key": home.secret("api-key")},
        "api_auth": {"jwt_secret": home.secret("jwt-secret", lambda: secrets.token_hex(64))},
        # A changed file is read at once; one that did not change costs a CPU-second or two each time, and must be
        # read again all the same: a DAG's watchers begin at the first reading after it was unpaused.
        "dag_processor": {"refresh_interval": 10, "min_file_process_interval": 60},
        "database": dict(database),
    }
    variables = {
        f"AIRFLOW__{section}__{key}".upper(): str(v) for section, keys in given.items() for key, v in keys.items()
    }
    return {"AIRFLOW_HOME": str(home.airflow), **variables}


def password(home: Home) -> str:
    """The admin's password, from the file that the simple auth manager reads."""
    kept = home.secret("passwords.json", lambda: json.dumps({USER: secrets.token_urlsafe(12)}))
    return str(json.loads(kept)[USER])


class AirflowApi:
    """Airflow's REST as the admin.

    Args:
        url: Where the api-server answers.
        password: The admin's.
    """

    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self._login = {"username": USER, "password": password}
        self._token: str | None = None

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A call below /api/v2; the token is renewed when it has run out.

        Raises:
            ApiError: Airflow answered with an error.
            OSError: Airflow did not answer.
        """
        fresh = self._token is None
        if self._token is None:
            self._token = str(http.call(f"{self.url}/auth/token", "POST", self._login)["access_token"])
        try:
            return http.call(f"{self.url}/api/v2/{path.lstrip('/')}", method, body, self._token)
        except ApiError as error:
            if error.status != 401 or fresh:
                raise
        self._token = None
        return self.call(method, path, body)

    def health(self) -> dict[str, Any]:
        """What /monitor/health says; open to everybody."""
        found: dict[str, Any] = http.call(f"{self.url}/api/v2/monitor/health", seconds=5)
        return found

    def answers(self, name: str, since: datetime) -> bool:
        """Whether a process is healthy, and has been heard since it was started."""
        health = self.health()
        if name == "api-server":
            return bool(health["metadatabase"]["status"] == "healthy")
        key = name.replace("-", "_")
        beat = health[key].get(f"latest_{key}_heartbeat")
        return health[key]["status"] == "healthy" and beat is not None and datetime.fromisoformat(beat) >= since


def services(home: Home, environment: Mapping[str, str], api: AirflowApi) -> list[Service]:
    """The four processes, in the order in which they start."""

    def service(name: str, words: tuple[str, ...]) -> Service:
        return Service(home, name, (*AIRFLOW, *words), environment, answers=lambda since: api.answers(name, since))

    return [service(name, words) for name, words in _PROCESSES.items()]
