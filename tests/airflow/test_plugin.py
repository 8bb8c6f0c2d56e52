"""The run's page in a real Airflow server: who may see it, and what it says about a run that took place."""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest
from httpx2 import Response

from clipflow.demo.catalogue import make_catalogue
from clipflow.schema import COUNTS, VERDICTS
from clipflow_airflow.links import RAY_JOB, RUN_PAGE, run_page_url, task_url
from clipflow_airflow.page.figures import OUTCOMES, RunFigures, next_steps
from clipflow_airflow.page.figures import VERDICTS as SHOWN_VERDICTS
from clipflow_airflow.sandbox import Sandbox

DAG, TASK = "clip_embed_daily", "embed_images"
HOSTILE = """<img src=x onerror=alert(1)> "quoted" 'table' & {{ 7 * 7 }}.lance"""

Get = Callable[..., Response]


class Run:
    """A run that took place: the demo's encoder over a few pictures, in this process."""

    def __init__(self, run_id: str, report: dict[str, Any]) -> None:
        self.run_id = run_id
        self.report = report
        self.url = run_page_url(DAG, run_id, TASK)


@pytest.fixture(scope="module")
def run(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("run")
    uploads = make_catalogue(folder / "uploads", days=2, per_day=9)
    rule = {"name": "wide", "score": "aspect_ratio", "reject_above": 0.5}
    job = {
        "name": "page",
        "source": {"uri": f"{uploads.folder}/"},
        "encoder": {"model": "demo"},
        "policy": {"rules": [rule]},
        "table": {"uri": f"{folder}/{HOSTILE}"},
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    end = datetime.combine(uploads.days[-1], datetime.min.time(), tzinfo=UTC) + timedelta(days=1)
    broken = uploads.folder / "broken.png"
    broken.write_bytes(b"not a picture")
    os.utime(broken, times=(end.timestamp() - 60,) * 2)
    outcome = sandbox.run(DAG, end, {"job_file": str(path), "conn_id": "local"})
    assert outcome.tasks[TASK] == "success"
    assert "+" in outcome.run_id
    return Run(outcome.run_id, outcome.results[TASK])


@pytest.fixture(scope="module")
def server(sandbox: Sandbox) -> Iterator[Any]:
    """Airflow's own application, with whatever plugins it finds."""
    from airflow.api_fastapi.app import create_app

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW__API_AUTH__JWT_SECRET", secrets.token_hex(32))
        yield create_app()


def token(role: str | None = "VIEWER", teams: tuple[str, ...] = ()) -> str:
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    user = SimpleAuthManagerUser(username="reader", role=role, teams=list(teams))
    return str(get_auth_manager().generate_jwt(user))


@pytest.fixture
def get(server: Any) -> Get:
    """Ask as a browser does: by the cookie of a session."""
    from fastapi.testclient import TestClient

    def ask(url: str, session: str | None = "a viewer's") -> Response:
        client = TestClient(server, follow_redirects=False)
        if session:
            client.cookies.set("_token", token() if session == "a viewer's" else session)
        return client.get(url)

    return ask


@contextmanager
def kept(run: Run, **changes: Any) -> Iterator[None]:
    """The task instance with other columns and XComs for a while; an XCom that is None is gone."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete, select

    xcoms = changes.pop("xcoms", {})
    key: dict[str, Any] = {"dag_id": DAG, "run_id": run.run_id, "task_id": TASK}
    before: dict[str, Any] = {}

    def write(columns: dict[str, Any], values: dict[str, Any]) -> None:
        with create_session() as session:
            ti = session.scalars(select(TaskInstance).filter_by(**key)).one()
            for name, value in columns.items():
                before.setdefault(name, getattr(ti, name))
                setattr(ti, name, value)
            for name, value in values.items():
                session.execute(delete(XComModel).filter_by(key=name, **key))
                if value is not None:
                    XComModel.set(key=name, value=value, map_index=-1, session=session, **key)

    write(changes, xcoms)
    try:
        yield
    finally:
        write(dict(before), {RAY_JOB: None, RUN_PAGE: run.url, **dict.fromkeys(xcoms), "return_value": run.report})


class Words(HTMLParser):
    """What a reader sees, what can be clicked, and which elements there are."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.links, self.tags = "", [], set()  # type: ignore[var-annotated]
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        assert not [name for name, _ in attrs if name == "style" or name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def test_nobody_without_a_session(get: Get, run: Run) -> None:
    answer = get(run.url, None)
    assert answer.status_code == 401
    assert "Log in" in answer.text
    assert "/api/v2/auth/login?next=" in answer.text
    assert run.report["run_id"] not in answer.text
    assert get("/clipflow/runs/no/such/task", None).status_code == 401


def test_a_token_that_is_none(get: Get, run: Run) -> None:
    assert get(run.url, "no.real.token").status_code in (401, 403)


def test_another_teams_dag(get: Get, run: Run) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.team import Team
    from airflow.utils.session import create_session

    bundle, team = DagBundleModel(name="theirs"), Team(name="vision")
    bundle.teams.append(team)
    with create_session() as session:
        session.add(bundle)
        session.flush()
        # Airflow leaves this untyped.
        session.add(DagModel(dag_id="of_vision", bundle_name="theirs", is_stale=True))  # type: ignore[no-untyped-call]
    url = run_page_url("of_vision", run.run_id, TASK)
    try:
        assert get(url, token(teams=("vision",))).status_code == 404
        stranger = get(url, token(teams=("finance",)))
    finally:
        with create_session() as session:
            for model, key in ((DagModel, "of_vision"), (DagBundleModel, "theirs"), (Team, "vision")):
                session.delete(session.get_one(model, key))
                session.flush()
    assert stranger.status_code == 403
    assert "may not read this DAG" in stranger.text


def test_a_user_without_a_role(get: Get, run: Run) -> None:
    answer = get(run.url, token(role=None))
    assert answer.status_code == 403
    assert run.report["run_id"] not in answer.text


def test_a_finished_run(get: Get, run: Run) -> None:
    answer = get(run.url)
    assert answer.status_code == 200
    page = Words(answer.text)
    report = run.report
    assert report["listed"] == sum(report[name] for name in OUTCOMES)
    assert report["failed"] >= 1 <= report["rejected"]
    for name in (*COUNTS, *VERDICTS):
        assert re.search(rf"\b{name}\s+{report[name]:,}\b", page.text), name
    for name, count in report["reasons"].items():
        assert re.search(rf"\b{name}\D+\b{count}\b", page.text), name
    assert "do not add up" not in page.text
    assert report["run_id"] in page.text
    assert report["table"] in page.text
    assert re.search(rf"Version\s*{report['version']}\b", page.text)
    assert task_url(DAG, run.run_id, TASK) in page.links
    assert all(link.startswith("/") for link in page.links)


def test_the_commands_answer(run: Run) -> None:
    import shlex

    from clipflow.query.sql import sql

    commands = [shlex.split(command) for _, command in next_steps(run.report)]
    assert [command[:3] for command in commands] == [["clipflow", "sql", run.report["table"]]] * 3
    by_verdict, others, own = (sql(command[2], command[3]) for command in commands)
    assert {row["status"]: row["images"] for row in by_verdict}["failed"] == run.report["failed"]
    assert {row["status"] for row in others} <= {"failed", "rejected", "review"}
    assert [row["run_id"] for row in own] == [run.report["run_id"]]


def test_hostile_values_are_only_text(get: Get, run: Run) -> None:
    answer = get(run.url)
    page = Words(answer.text)
    assert HOSTILE in page.text
    assert not page.tags & {"img", "script", "iframe", "object", "form", "link", "base"}
    nasty = {**run.report, "table": "</style></title><script>alert(1)</script>", "version": "<b>", "run_id": "'\"><i>"}
    nasty["reasons"] = {"<script>alert(2)</script>": 1, "plain": float("inf")}
    nasty["seconds"] = {"list": "<script>", "fetch": 1}
    with kept(run, xcoms={"return_value": nasty, RAY_JOB: "javascript:alert(3)"}):
        page = Words(get(run.url).text)
    assert "script" not in page.tags
    assert "<script>alert(2)</script>" in page.text
    assert not [link for link in page.links if "script" in link]


def test_what_a_browser_may_do(get: Get, run: Run) -> None:
    first, second = get(run.url), get(run.url)
    policy = dict(rule.strip().split(" ", 1) for rule in first.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["frame-ancestors"] == "'self'"
    nonce = re.fullmatch(r"'nonce-([\w-]{16,})'", policy["style-src"])
    assert nonce
    assert f'<style nonce="{nonce[1]}">' in first.text
    assert nonce[1] not in second.text
    assert first.headers["Cache-Control"] == "no-store"
    assert get(run.url, None).headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize(
    "url",
    [
        run_page_url(DAG, "manual__2026-01-01T00:00:00+00:00", TASK),
        run_page_url("no_such_dag", "r", TASK),
        "/clipflow/runs/~/~/~",
        "/clipflow/",
        "/clipflow/docs",
        "/clipflow/openapi.json",
    ],
)
def test_what_airflow_does_not_know(get: Get, url: str) -> None:
    answer = get(url)
    assert answer.status_code == 404
    assert "no such" in answer.text


def test_a_task_of_many(get: Get, run: Run) -> None:
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import delete, insert, select
    from uuid6 import uuid7

    assert get(f"{run.url}?map_index=-1").status_code == 200
    # What Airflow's UI sends where a task is not mapped.
    assert get(f"{run.url}?map_index={{MAP_INDEX}}&tab=1").status_code == 200
    assert get(f"{run.url}?map_index=0").status_code == 404
    assert get(f"{run.url}?map_index=many").status_code == 404
    table = TaskInstance.__table__
    with create_session() as session:
        mine = {"dag_id": DAG, "run_id": run.run_id, "task_id": TASK}
        only = session.execute(select(table).filter_by(**mine)).one()._asdict()
        session.execute(insert(table).values({**only, "id": uuid7(), "map_index": 2}))
    try:
        page = Words(get(f"{run.url}?map_index=2").text)
    finally:
        with create_session() as session:
            session.execute(delete(TaskInstance).filter_by(map_index=2))
    assert task_url(DAG, run.run_id, TASK, 2) in page.links
    assert "no longer holds" in page.text


RAY = "http://ray.example:8265/#/jobs/clipflow-1-0"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (None, "has not started"),
        ("queued", "has not started"),
        ("running", "is running"),
        ("deferred", "waits for its job on Ray"),
        ("up_for_retry", "will be tried again"),
        ("failed", "This task failed"),
        ("skipped", "skipped"),
        ("a_later_word", "in the state a_later_word"),
    ],
)
def test_a_run_without_a_report_yet(get: Get, run: Run, state: str | None, says: str) -> None:
    with kept(run, state=state, xcoms={"return_value": None, RAY_JOB: RAY}):
        answer = get(run.url)
    assert answer.status_code == 200
    page = Words(answer.text)
    assert says in page.text
    assert "What became of the images" not in page.text
    assert RAY in page.links
    assert page.links.count(task_url(DAG, run.run_id, TASK)) == (2 if state in ("failed", "up_for_retry") else 1)


def test_a_run_between_ray_and_its_report(get: Get, run: Run) -> None:
    with kept(run, state="queued", next_method="complete", xcoms={"return_value": None, RAY_JOB: RAY}):
        assert "job on Ray is over" in Words(get(run.url).text).text


def test_a_failed_run_that_left_a_report(get: Get, run: Run) -> None:
    with kept(run, state="failed"):
        text = Words(get(run.url).text).text
    assert "This task failed" in text
    assert "What became of the images" in text


def test_the_tab_has_no_links(get: Get, run: Run) -> None:
    """Airflow's frame opens neither windows nor other pages over itself: a link would load inside it."""
    with kept(run, xcoms={RAY_JOB: RAY}):
        page = Words(get(f"{run.url}?tab=1").text)
    assert not page.links
    assert RAY in page.text


def test_a_report_that_was_cleaned(get: Get, run: Run) -> None:
    with kept(run, xcoms={"return_value": None}):
        assert "no longer holds this run's report" in Words(get(run.url).text).text


def test_somebody_elses_task(get: Get, run: Run) -> None:
    with kept(run, operator="BashOperator", xcoms={RUN_PAGE: None}):
        text = Words(get(run.url).text).text
        assert "not one of clipflow's" in text
        assert run.report["table"] not in text
    with kept(run, operator="OurOwnEmbedOperator", xcoms={RUN_PAGE: run.url}):
        assert run.report["table"] in Words(get(run.url).text).text


def test_another_verbs_report(get: Get, run: Run) -> None:
    judged = {"run_id": "r1", "table": "s3://b/t.lance", "version": 7, "changed": 1234, "groups": [{"column": "<a>"}]}
    with kept(run, xcoms={"return_value": judged}):
        text = Words(get(run.url).text).text
    assert re.search(r"changed\s*1,234\b", text)
    assert '[{"column": "<a>"}]' in text
    assert "clipflow sql s3://b/t.lance" in text


def test_counts_that_do_not_add_up_are_told(get: Get, run: Run) -> None:
    with kept(run, xcoms={"return_value": {**run.report, "listed": run.report["listed"] + 1}}):
        assert "do not add up" in Words(get(run.url).text).text


def test_a_report_without_reasons_and_seconds(get: Get, run: Run) -> None:
    less = {name: value for name, value in run.report.items() if name not in ("reasons", "seconds")}
    with kept(run, xcoms={"return_value": less}):
        text = Words(get(run.url).text).text
    assert "What became of the images" in text
    assert "Busy time" not in text


def test_the_page_knows_the_words_of_the_contract() -> None:
    assert {"listed", *OUTCOMES} == set(COUNTS)
    assert set(SHOWN_VERDICTS) == set(VERDICTS)


@pytest.mark.parametrize(
    ("counts", "headline"),
    [
        ((0, 0, 0, 0, 0), "No images were listed"),
        ((0, 0, 5, 0, 0), "Nothing was left to do for 5 images"),
        ((1, 0, 0, 0, 0), "1 of 1 image processed"),
        ((1000, 200, 30, 4, 1), "1,204 of 1,235 images processed, 4 failed"),
    ],
)
def test_the_headline(counts: tuple[int, ...], headline: str) -> None:
    report = dict(zip(OUTCOMES, counts, strict=True))
    figures = RunFigures.of({**report, "listed": sum(counts)})
    assert figures is not None
    assert figures.headline == headline


def test_airflow_finds_the_plugin(server: Any) -> None:
    from airflow.plugins_manager import get_plugin_info

    (info,) = [info for info in get_plugin_info() if info["name"] == "clipflow"]
    (view,) = info["external_views"]
    assert view["destination"] == "task_instance"
    assert view["href"].startswith("/clipflow/runs/{DAG_ID}/{RUN_ID}/{TASK_ID}?map_index={MAP_INDEX}")
    assert [app["url_prefix"] for app in info["fastapi_apps"]] == ["/clipflow"]


def test_importing_the_plugin_is_cheap() -> None:
    """Every process of Airflow does it, and only the server serves pages."""
    code = (
        "import sys, airflow.plugins_manager; bare = set(sys.modules);"
        "from clipflow_airflow.plugin import ClipflowPlugin; ClipflowPlugin();"
        "print('new', *sorted(set(sys.modules) - bare), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    new = done.stdout.partition("new\n")[2].split()
    assert "clipflow_airflow.plugin" in new
    # The links' base class is all that Airflow itself has to add.
    assert {name for name in new if not name.startswith("clipflow")} <= {"airflow.sdk.bases.operatorlink"}


def test_the_page_needs_no_engine() -> None:
    code = (
        "import sys; from clipflow_airflow.plugin import ClipflowPlugin; bare = set(sys.modules);"
        "ClipflowPlugin().fastapi_apps; print('new', *sorted(set(sys.modules) - bare), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    new = done.stdout.partition("new\n")[2].split()
    assert "clipflow_airflow.page.app" in new
    assert not {name.partition(".")[0] for name in new} & {"torch", "ray", "lance", "pyarrow", "duckdb", "transformers"}
