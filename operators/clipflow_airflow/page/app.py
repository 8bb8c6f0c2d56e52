"""The application behind the page: who may see it, and what a browser may do with it."""

import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import get_user, requires_access_dag
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException as StarletteHTTPException

from clipflow_airflow.links import server_path, task_url
from clipflow_airflow.page.figures import RunFigures, next_steps, rows
from clipflow_airflow.page.task import Task, find_task

_HERE = Path(__file__).parent
_CSS = Markup((_HERE / "page.css").read_text(encoding="utf-8"))
_TEMPLATES = Environment(loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)

_SENTENCES = {
    401: "Log in to Airflow to see this page.",
    403: "Your Airflow user may not read this DAG.",
    404: "Airflow knows no such task instance.",
}
_STATES = {
    None: "This task has not started.",
    "scheduled": "This task has not started: it is scheduled.",
    "queued": "This task has not started: it is queued.",
    "running": "This task is running.",
    "deferred": "This task waits for its job on Ray; meanwhile it holds no worker.",
    "restarting": "This task is being restarted.",
    "up_for_retry": "This task failed and will be tried again. Its log says why.",
    "up_for_reschedule": "This task waits to be scheduled again.",
    "failed": "This task failed. Its log says why.",
    "upstream_failed": "This task did not run: a task before it failed.",
    "skipped": "This task was skipped; it did nothing.",
    "removed": "This task is no longer part of its DAG.",
}
_NO_REPORT = (
    "Airflow no longer holds this run's report: its XComs were cleaned. The table does, "
    'for good: clipflow sql TABLE "select * from runs".'
)
_RESUMES = "This task's job on Ray is over; a worker takes over its report next."
_NOT_OURS = "This task is not one of clipflow's, so there is nothing to show here."


def make_app() -> FastAPI:
    """The application, to be mounted by Airflow: no route of it answers without a session."""
    app = FastAPI(title="clipflow", dependencies=[Depends(get_user)], openapi_url=None, docs_url=None, redoc_url=None)
    app.add_exception_handler(StarletteHTTPException, _say)
    readable = [
        Depends(requires_access_dag("GET", entity)) for entity in (DagAccessEntity.TASK_INSTANCE, DagAccessEntity.XCOM)
    ]

    @app.get("/runs/{dag_id}/{run_id}/{task_id}", response_class=HTMLResponse, dependencies=readable)
    def page(
        dag_id: str, run_id: str, task_id: str, session: SessionDep, map_index: str = "-1", tab: bool = False
    ) -> HTMLResponse:
        task = find_task(session, dag_id, run_id, task_id, _index(map_index))
        if task is None:
            raise HTTPException(404)
        return _render("run.html", 200, **_values(task), tab=tab)

    return app


def _index(value: str) -> int:
    """Airflow's UI leaves the placeholder as it is where a task is not mapped."""
    if value in ("", "{MAP_INDEX}"):
        return -1
    try:
        return int(value)
    except ValueError:
        raise HTTPException(404) from None


def _values(task: Task) -> dict[str, Any]:
    report = task.report if task.ours else None
    note = _STATES.get(task.state, f"This task is in the state {task.state}.") if task.state != "success" else None
    if not task.ours:
        note = _NOT_OURS
    elif task.resumes and task.state in ("scheduled", "queued"):
        note = _RESUMES
    elif task.state == "success" and not report:
        note = _NO_REPORT
    figures = RunFigures.of(report) if report else None
    return {
        "task": task,
        "note": note,
        "report": report,
        "figures": figures,
        "rows": rows(report) if report and not figures else [],
        "next_steps": list(next_steps(report)) if report else [],
        "back": task_url(task.dag_id, task.run_id, task.task_id, task.map_index),
    }


def _say(request: Request, error: Exception) -> HTMLResponse:
    """A refusal as a sentence; it tells nothing that the status does not."""
    assert isinstance(error, StarletteHTTPException)
    status = error.status_code
    here = quote(f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path, safe="")
    login = f"{server_path()}/api/v2/auth/login?next={here}" if status == 401 else None
    return _render("note.html", status, note=_SENTENCES.get(status, "This page cannot be shown."), login=login)


def _render(template: str, status: int, **values: Any) -> HTMLResponse:
    nonce = secrets.token_urlsafe(16)
    body = _TEMPLATES.get_template(template).render(nonce=nonce, css=_CSS, **values)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    return HTMLResponse(
        body,
        status,
        {
            "Content-Security-Policy": policy,
            "X-Frame-Options": "SAMEORIGIN",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        },
    )
