"""What a user sees of a running Airflow, in a real browser: log in, fill in forms, read a log, follow links."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from clipflow.demo.catalogue import Catalogue, make_catalogue
from clipflow_airflow.stack import Stack
from tests.live.runs import Run, patiently, until

FORM, DAILY, TASK = "clip_embed_on_demand", "clip_embed_daily", "embed_images"
# Days that no other test of this Airflow fills.
DAYS = (date(2026, 2, 10), date(2026, 2, 11))
CONNECTION = "ray_by_hand"
CHROMIUM = shutil.which("chromium")

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        # Chromium refuses its sandbox to root.
        alone = ["--no-sandbox"] if os.geteuid() == 0 else []
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=alone)


@pytest.fixture(scope="module")
def page(three_slots: Stack, browser: Browser) -> Iterator[Page]:
    """A page that is logged in; all tests share it, and each opens what it looks at."""
    stack = three_slots
    found = new_page(browser)
    found.goto(stack.url)
    log_in(found, stack.user, stack.password)
    expect(found.get_by_role("heading", name="Welcome")).to_be_visible()
    yield found
    for dag in (FORM, DAILY):
        stack.patch(f"/dags/{dag}", {"is_paused": True})


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Catalogue:
    folder = tmp_path_factory.mktemp("catalogue") / "uploads"
    return make_catalogue(folder, days=len(DAYS), per_day=8, end=DAYS[-1])


@pytest.fixture(scope="module")
def run(stack: Stack, page: Page, uploads: Catalogue) -> Run:
    """A run that was asked for by the form and seen to succeed."""
    dialog = trigger_dialog(page, stack, FORM)
    values = {"Images": f"{uploads.folder}/", "Table": f"{uploads.folder.parent}/lake.lance", "Model": "demo"}
    for title, value in {**values, "Ray connection": "ray_default"}.items():
        field(dialog, title).get_by_role("textbox").fill(value)
    dialog.get_by_role("button", name="Trigger", exact=True).click()
    page.wait_for_url("**/runs/manual__*")
    row = page.get_by_role("row").filter(has_text=TASK)
    expect(row.get_by_role("cell", name="Success", exact=True)).to_be_visible(timeout=300_000)
    return Run(stack, FORM, unquote(urlsplit(page.url).path.split("/")[-1]), TASK)


@pytest.fixture(autouse=True)
def picture(request: pytest.FixtureRequest, page: Page, tmp_path: Path) -> Iterator[None]:
    """What the page looked like, where a test failed."""
    before = request.session.testsfailed
    yield
    if request.session.testsfailed > before:
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        print(f"the page at {page.url}: {tmp_path / 'page.png'}")


def new_page(browser: Browser) -> Page:
    page = browser.new_context(viewport={"width": 1400, "height": 1300}).new_page()
    page.set_default_timeout(60_000)
    return page


def log_in(page: Page, user: str, password: str) -> None:
    page.get_by_role("textbox", name="Username").fill(user)
    page.get_by_role("textbox", name="Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def trigger_dialog(page: Page, stack: Stack, dag: str) -> Locator:
    page.goto(f"{stack.url}/dags/{dag}")
    page.get_by_role("button", name="Trigger Dag").click()
    dialog = page.get_by_role("dialog").filter(has_text=dag)
    expect(dialog.get_by_role("button", name="Run Parameters")).to_be_visible()
    return dialog


def field(dialog: Locator, title: str) -> Locator:
    """A field of a form, by what stands before it."""
    return dialog.get_by_role("group").filter(has_text=re.compile(rf"^{title}"))


def open_task(page: Page, run: Run, tab: str) -> None:
    page.goto(f"{run.stack.url}/dags/{run.dag_id}/runs/{run.run_id}/tasks/{run.task_id}")
    page.get_by_role("link", name=tab, exact=True).click()


def test_a_wrong_password_does_not_let_in(stack: Stack, browser: Browser) -> None:
    stranger = new_page(browser)
    stranger.goto(f"{stack.url}/dags")
    log_in(stranger, stack.user, f"{stack.password}x")
    expect(stranger.get_by_text("Invalid credentials")).to_be_visible()
    stranger.goto(f"{stack.url}/dags/{FORM}")
    expect(stranger.get_by_role("button", name="Sign in")).to_be_visible()
    assert FORM not in stranger.inner_text("body")
    log_in(stranger, stack.user, stack.password)
    expect(stranger.get_by_role("heading", name=FORM)).to_be_visible()
    stranger.context.close()


def test_a_dag_says_what_it_is(stack: Stack, page: Page) -> None:
    page.goto(f"{stack.url}/dags/{FORM}")
    for tag in ("clipflow", "embeddings"):
        expect(page.locator(f"a[href$='tags={tag}']")).to_have_text(tag)
    page.get_by_role("button", name="Dag Docs").click()
    doc = page.get_by_role("dialog")
    expect(doc.get_by_role("heading", name=FORM)).to_be_visible()
    expect(doc).to_contain_text("A table holds one encoder")


def test_every_field_of_the_form_has_a_title_and_help(stack: Stack, page: Page) -> None:
    dialog = trigger_dialog(page, stack, FORM)
    params = stack.get(f"/dags/{FORM}/details")["params"]
    assert {"uri", "table", "model", "conn_id"} <= params.keys()
    for param in params.values():
        expect(field(dialog, param["schema"]["title"])).to_contain_text(param["description"])


def test_the_log_holds_rays_in_a_group_and_no_secret(stack: Stack, page: Page, run: Run, uploads: Catalogue) -> None:
    open_task(page, run, "Logs")
    group, line = page.get_by_text("Log of the Ray job"), page.get_by_text(f"list: {uploads.files} images under")
    expect(group).to_be_visible()
    expect(line).to_be_hidden()
    group.click()
    expect(line).to_be_visible()
    expect(page.get_by_text(run.xcom()["run_id"]).first).to_be_visible()
    log = page.inner_text("body")
    assert "Started the Ray job" in log
    assert stack.ray_token not in log
    group.click()
    expect(line).to_be_hidden()


def test_the_job_is_shown_as_it_ran(stack: Stack, page: Page, run: Run, uploads: Catalogue) -> None:
    open_task(page, run, "Rendered Templates")
    job = page.get_by_role("row").filter(has=page.get_by_role("cell", name="job", exact=True))
    # The context is the operator's: it shows that this is not the form's template.
    for part in (f"{uploads.folder}/", "demo", "lake.lance", "dag_run_id", run.run_id):
        expect(job).to_contain_text(part)
    assert stack.ray_token not in page.inner_text("body")


def test_the_links_lead_to_ray_and_to_the_runs_page(stack: Stack, page: Page, run: Run) -> None:
    open_task(page, run, "Details")
    (job,) = [job for job in stack.jobs() if (job["metadata"] or {}).get("dag_run_id") == run.run_id]
    ray = page.get_by_role("link", name="Ray dashboard")
    expect(ray).to_have_attribute("href", f"{stack.ray_url}/#/jobs/{job['submission_id']}")
    expect(ray).to_have_attribute("target", "_blank")
    assert page.request.get(str(ray.get_attribute("href"))).ok
    page.get_by_role("link", name="Run's page").click()
    check_figures(page.get_by_role("main"), run.xcom())


def test_the_tab_shows_the_runs_page(page: Page, run: Run) -> None:
    open_task(page, run, "Images")
    check_figures(page.frame_locator("iframe").get_by_role("main"), run.xcom())


def check_figures(main: Locator, report: dict[str, Any]) -> None:
    expect(main.get_by_role("heading", level=1)).to_contain_text("images processed")
    for name in ("embedded", "failed", "listed", "accepted"):
        assert report[name] > 0
        expect(main.get_by_role("row", name=re.compile(rf"^{name} {report[name]}\b"))).to_be_visible()
    expect(main).to_contain_text(report["table"])
    expect(main).to_contain_text(report["run_id"])


@pytest.fixture
def no_connection(stack: Stack) -> Iterator[None]:
    yield
    stack.delete(f"/connections/{CONNECTION}")


@pytest.mark.usefixtures("no_connection")
def test_a_connection_is_made_and_tested(stack: Stack, page: Page) -> None:
    page.goto(f"{stack.url}/connections")
    page.get_by_role("button", name="Add Connection").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Connection ID").fill(CONNECTION)
    dialog.get_by_role("combobox", name="Connection Type").fill("Ray")
    page.get_by_role("option", name="Ray Jobs").click()
    # Airflow's Test refuses a connection whose port is empty.
    host, _, port = stack.ray_url.rpartition(":")
    dialog.get_by_role("textbox", name="Dashboard URL").fill(host)
    dialog.get_by_role("spinbutton", name="Port").fill(port)
    dialog.get_by_role("textbox", name="Token").fill(stack.ray_token)
    dialog.get_by_role("button", name="Extra Fields", exact=True).click()
    expect(dialog.get_by_role("checkbox", name="Verify TLS")).to_be_checked()
    expect(dialog.get_by_role("spinbutton", name="Poll seconds")).to_have_value("5")
    for title, said in {"CA file": "certificates", "Headers": "JSON object"}.items():
        expect(field(dialog, title)).to_contain_text(said)
    dialog.get_by_role("button", name="Save").click()
    mine = page.get_by_role("row").filter(has_text=CONNECTION)
    mine.get_by_role("button", name="Test Connection").click()
    expect(page.get_by_text(re.compile(r"Ray \d\S+ answers\."))).to_be_visible()

    mine.get_by_role("button", name="Edit Connection").click()
    dialog.get_by_role("textbox", name="Token").fill("not-the-token")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    mine.get_by_role("button", name="Test Connection").click()
    expect(page.get_by_text("does not accept the token")).to_be_visible()
    assert "Traceback" not in page.inner_text("body")


def test_a_backfill_of_two_days(stack: Stack, page: Page, uploads: Catalogue) -> None:
    job = uploads.folder.with_name("job.json")
    source, table = {"uri": f"{uploads.folder}/"}, {"uri": f"{uploads.folder.parent}/daily.lance"}
    job.write_text(json.dumps({"name": "t", "source": source, "encoder": {"model": "demo"}, "table": table}))
    dialog = trigger_dialog(page, stack, DAILY)
    dialog.get_by_text("Backfill", exact=True).click()
    for title, day in zip(("From", "To"), DAYS, strict=True):
        field(dialog, title).get_by_text("Select date and time").click()
        page.get_by_role("textbox", name=title, exact=True).fill(day.strftime("%Y/%m/%d"))
        page.get_by_placeholder("HH:mm").fill("00:00")
        page.keyboard.press("Escape")
        # On a busy machine the second field opens before the first is closed.
        expect(page.get_by_placeholder("HH:mm")).to_be_hidden()
    field(dialog, "Job file").get_by_role("textbox").fill(str(job))
    field(dialog, "Ray connection").get_by_role("textbox").fill("ray_default")
    # Without it Airflow's form drops the parameters, and the days run with those of the DAG.
    dialog.get_by_text("Override parameters on existing runs").click()
    dialog.get_by_role("button", name="Run Backfill").click()
    expect(dialog).to_be_hidden()

    made = max(patiently(lambda: stack.get(f"/backfills?dag_id={DAILY}"))["backfills"], key=lambda found: found["id"])
    assert [made["from_date"][:10], made["to_date"][:10]] == [day.isoformat() for day in DAYS]
    assert made["dag_run_conf"] == {"job_file": str(job), "conn_id": "ray_default", "fail_if": None}

    def over() -> list[Run] | None:
        found = patiently(lambda: stack.get(f"/backfills/{made['id']}"))
        return runs_of_days(stack) if found["completed_at"] else None

    reports = [run.xcom() for run in until(over, 600, "the backfill")]
    assert sum(report["embedded"] + report["reused"] + report["failed"] for report in reports) == uploads.files


def runs_of_days(stack: Stack) -> list[Run]:
    bounds = f"logical_date_gte={DAYS[0]}T00:00:00Z&logical_date_lte={DAYS[-1]}T23:59:59Z"
    found = patiently(lambda: stack.get(f"/dags/{DAILY}/dagRuns?limit=100&{bounds}"))["dag_runs"]
    return [Run(stack, DAILY, run["dag_run_id"], TASK) for run in found]
