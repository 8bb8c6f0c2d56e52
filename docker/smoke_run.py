"""Run clip_embed_on_demand by Airflow's REST API and wait for its end; exit 1 unless it succeeded."""

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

URL = "http://127.0.0.1:8080"
DAG = "/api/v2/dags/clip_embed_on_demand"
PATIENCE = 900


def call(method: str, path: str, body: Mapping[str, Any] | None = None, token: str = "") -> Any:
    """One call, as JSON."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(URL + path, data, headers, method=method), timeout=30) as answer:
        return json.load(answer)


def unpause(token: str, until: float) -> None:
    """Let the DAG run; the dag-processor may need a while to find it."""
    while True:
        try:
            call("PATCH", DAG, {"is_paused": False}, token)
        except HTTPError as error:
            if error.code != 404 or time.monotonic() > until:
                raise
            time.sleep(3)
        else:
            return


def main(name: str, images: str, table: str) -> int:
    """Trigger, wait, say how it ended."""
    until = time.monotonic() + PATIENCE
    passwords = json.loads(Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"]).read_text("utf-8"))
    token = call("POST", "/auth/token", {"username": "admin", "password": passwords["admin"]})["access_token"]
    unpause(token, until)
    conf = {"name": name, "uri": images, "table": table, "model": "demo", "conn_id": "ray_default"}
    run = call("POST", f"{DAG}/dagRuns", {"dag_run_id": name, "logical_date": None, "conf": conf}, token)
    while run["state"] in ("queued", "running") and time.monotonic() < until:
        time.sleep(3)
        # A busy machine may leave a question unanswered; the run goes on all the same.
        with suppress(TimeoutError):
            run = call("GET", f"{DAG}/dagRuns/{name}", token=token)
    tasks = call("GET", f"{DAG}/dagRuns/{name}/taskInstances", token=token)["task_instances"]
    print(f"run {name}: {run['state']};", ", ".join(f"{task['task_id']} {task['state']}" for task in tasks))
    return 0 if run["state"] == "success" else 1


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except OSError as error:
        sys.exit(f"smoke_run.py: Airflow's API: {error}; see `docker compose logs airflow-api`.")
