"""Inside the running Airflow: its tab, its link, and real runs watched in them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from local_stack.airflow_client import AirflowClient
from local_stack.flights import FLIGHTS_ROWS, place_flights
from local_stack.stack import Stack
from pipeline.settings import load_settings
from tests.browser.conftest import OpenPage
from tests.browser.live import LivePage

DAG = "ingest_dataset"
RUN_S = 120.0


@pytest.fixture
def signed_in(airflow: AirflowClient, open_context: Callable[..., BrowserContext]) -> Page:
    """A page of a person who is signed in at Airflow."""
    said = load_settings().airflow
    assert said.password is not None
    body = {"username": said.username, "password": said.password.get_secret_value()}
    answer = httpx.post(f"{airflow.url}/auth/token", json=body, timeout=30, trust_env=False)
    context = open_context()
    cookie: Any = {"name": "_token", "value": answer.json()["access_token"], "domain": "127.0.0.1", "path": "/"}
    context.add_cookies([cookie])
    return context.new_page()


def run_page(airflow: AirflowClient, dag: str, run_id: str, *rest: str) -> str:
    return "/".join([airflow.url, "dags", dag, "runs", quote(run_id, safe=""), *rest])


def tab(page: Page, route: str) -> LivePage:
    """Open a tab of Airflow's by clicking it; what its frame shows."""
    page.locator(f'a[href$="/plugin/{route}"]').click()
    frame = page.locator('iframe[title="Live"]').element_handle().content_frame()
    assert frame is not None
    return LivePage(page, frame)


@pytest.fixture(scope="module")
def flights(full_stack: Stack) -> Path:
    """The real flights, where the form may take them from."""
    return place_flights(Path(load_settings().sources.roots[0]))


def test_a_whole_load_is_watched_from_queued_to_succeeded_in_airflows_tab(
    airflow: AirflowClient, signed_in: Page, open_page: OpenPage, flights: Path, screenshots: Path
) -> None:
    run_id = airflow.trigger(DAG, {"dataset": "watched", "source": str(flights), "null_values": ["NA"]})
    alone = open_page(f"{load_settings().bridge.url}/runs/{DAG}/{quote(run_id, safe='')}")
    alone.shows("publish", "queued")
    alone.shows("warm", "queued")
    signed_in.goto(run_page(airflow, DAG, run_id))
    live = tab(signed_in, "millrace-run")
    for index in (0, 1):
        live.shows(f"load [{index}]", "succeeded", "MB of", within_s=RUN_S)
    for task in ("plan", "verify", "publish", "warm"):
        live.shows(task, "succeeded", within_s=RUN_S)
    assert airflow.wait_for_run(DAG, run_id, timeout_s=RUN_S).state == "success"
    for page in (live, alone):
        heading = page.root.get_by_role("heading", name=run_id).last
        expect(heading).to_contain_text("6 of 6 tasks ended")
        expect(page.root.locator("section")).to_contain_text(f"of {FLIGHTS_ROWS:,} rows")
        # Announced as one task, it became two.
        expect(page.row("load")).to_have_count(2)
    signed_in.screenshot(path=screenshots / "inside-airflow.png")
    signed_in.emulate_media(color_scheme="dark")
    signed_in.screenshot(path=screenshots / "inside-airflow-dark.png")


def test_a_failing_load_says_why_in_airflows_tab_and_what_was_not_run(
    airflow: AirflowClient, signed_in: Page, full_stack: Stack
) -> None:
    broken = Path(load_settings().sources.roots[0]) / "broken.csv"
    broken.write_text("a,b\n" + "1,2\n" * 1000 + "1,2,3\n")
    run_id = airflow.trigger(DAG, {"dataset": "broken", "source": str(broken)})
    signed_in.goto(run_page(airflow, DAG, run_id))
    live = tab(signed_in, "millrace-run")
    expect(live.root.locator("section")).to_contain_text("failed", timeout=RUN_S * 1000)
    failed = live.root.get_by_role("row").filter(has_text="failed")
    expect(failed.first).to_contain_text("broken.csv")
    live.shows("publish", "cancelled", "not run: a task before it failed", within_s=RUN_S)


def test_a_killed_task_is_retrying_then_failed_and_its_tab_and_link_show_it(
    airflow: AirflowClient, probe: str, signed_in: Page
) -> None:
    run_id = airflow.trigger(probe, {"how": "killed"})
    signed_in.goto(run_page(airflow, probe, run_id))
    live = tab(signed_in, "millrace-run")
    live.shows("killed_once", "attempt 2", "succeeded", within_s=RUN_S)
    live.shows("killed_for_good", "failed", "without a word", within_s=RUN_S)
    assert airflow.wait_for_run(probe, run_id, timeout_s=RUN_S).state == "failed"
    # Each task has the tab, too: Airflow fills in a literal {MAP_INDEX} for one that is not mapped.
    signed_in.goto(run_page(airflow, probe, run_id, "tasks", "killed_for_good"))
    own = tab(signed_in, "millrace-task")
    own.shows("killed_for_good", "failed")
    expect(own.row("killed_once")).to_have_count(0)
    # And the link, which leads out of Airflow into a window of its own.
    signed_in.goto(run_page(airflow, probe, run_id, "tasks", "killed_once", "details"))
    with signed_in.expect_popup() as opened:
        signed_in.get_by_role("link", name="Live progress", exact=True).click()
    alone = LivePage(opened.value)
    alone.shows("killed_once", "attempt 2", "succeeded")
    expect(opened.value).to_have_url(re.compile(re.escape(f"{load_settings().bridge.url}/runs/{probe}/")))
