"""The live page inside a running Airflow: its tab and link, with real runs."""

from __future__ import annotations

import re
import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from playwright.sync_api import Page, expect

from local_stack.airflow_client import AirflowClient
from local_stack.flights import FLIGHTS_ROWS, place_flights
from local_stack.stack import Stack
from millrace.api import Store
from millrace.settings import load_settings
from tests.browser.conftest import OpenPage
from tests.browser.in_airflow import RUN_S, fill, open_section, run_page, tab
from tests.browser.live import LivePage

DAG = "ingest_dataset"


@pytest.fixture(scope="module")
def flights(full_stack: Stack) -> Path:
    """Put the real flights into the folder of the form's sources; return their path."""
    return place_flights(Path(load_settings().sources.roots[0]))


def test_airflows_tab_shows_a_load_from_queued_to_succeeded(
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
        # The task announced as one became two mapped tasks.
        expect(page.row("load")).to_have_count(2)
    signed_in.screenshot(path=screenshots / "inside-airflow.png")
    signed_in.emulate_media(color_scheme="dark")
    signed_in.screenshot(path=screenshots / "inside-airflow-dark.png")


def test_the_form_proposes_files_of_the_inbox_and_loads_a_csv_with_local_formats(
    airflow: AirflowClient, signed_in: Page, full_stack: Stack, screenshots: Path
) -> None:
    text = "Stand Mai\ntag;preis;neu;ort\n01.05.2026;1234,5;ja;Köln\n31.12.2025;-0,25;nein;Bonn\n"
    (Path(load_settings().sources.roots[0]) / "preise.csv").write_text(text, encoding="latin-1")
    deadline = time.monotonic() + RUN_S
    while "preise.csv" not in airflow.get(f"/api/v2/dags/{DAG}/details")["params"]["source"]["schema"]["examples"]:
        assert time.monotonic() < deadline, "Airflow has not parsed the DAG anew"
        time.sleep(2)
    signed_in.set_default_timeout(RUN_S * 1000)
    signed_in.goto(f"{airflow.url}/dags/{DAG}")
    signed_in.get_by_test_id("trigger-dag-button").click()
    form = signed_in.get_by_role("dialog")
    expect(form.locator('datalist#list_source option[value="preise.csv"]')).to_have_count(1, timeout=RUN_S * 1000)
    fill(form, "input", dataset="prices", source="preise.csv")
    signed_in.screenshot(path=screenshots / "form.png")
    open_section(form, "How the source is written")
    fill(form, "input", delimiter="auto", encoding="latin-1", skip_rows="1", decimal=",")
    fill(form, "textarea", date_format="%d.%m.%Y", true_value="ja", false_value="nein\nkeine")
    signed_in.screenshot(path=screenshots / "form-source.png")
    open_section(form, "Columns")
    fill(form, "textarea", columns="preis\ntag\nneu", rename="preis=price\n", column_types="preis=decimal128(10, 2)")
    signed_in.screenshot(path=screenshots / "form-columns.png")
    form.get_by_role("button", name="Trigger", exact=True).click()
    signed_in.wait_for_url(re.compile(r"/runs/"), timeout=RUN_S * 1000)
    run_id = unquote(signed_in.url.partition("/runs/")[2].partition("/")[0])
    assert airflow.wait_for_run(DAG, run_id, timeout_s=2 * RUN_S).state == "success"
    with Store.connect(load_settings()) as store:
        table = store.dataset("prices").to_table()
    assert table.to_pydict() == {
        "price": [Decimal("1234.50"), Decimal("-0.25")],
        "tag": [date(2026, 5, 1), date(2025, 12, 31)],
        "neu": [True, False],
    }


def test_airflows_tab_shows_the_error_of_a_failing_load_and_its_cancelled_tasks(
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
    live.shows("publish", "cancelled", "not run: an upstream task failed", within_s=RUN_S)


def test_a_killed_task_is_retried_or_failed_and_its_tab_and_link_show_it(
    airflow: AirflowClient, probe: str, signed_in: Page
) -> None:
    run_id = airflow.trigger(probe, {"how": "killed"})
    signed_in.goto(run_page(airflow, probe, run_id))
    live = tab(signed_in, "millrace-run")
    live.shows("killed_once", "attempt 2", "succeeded", within_s=RUN_S)
    live.shows("killed_for_good", "failed", "without a report", within_s=RUN_S)
    assert airflow.wait_for_run(probe, run_id, timeout_s=RUN_S).state == "failed"
    # Each task has the tab, too: Airflow leaves {MAP_INDEX} unchanged for an unmapped one.
    signed_in.goto(run_page(airflow, probe, run_id, "tasks", "killed_for_good"))
    own = tab(signed_in, "millrace-task")
    own.shows("killed_for_good", "failed")
    expect(own.row("killed_once")).to_have_count(0)
    # The link opens a separate window outside of Airflow.
    signed_in.goto(run_page(airflow, probe, run_id, "tasks", "killed_once", "details"))
    with signed_in.expect_popup() as opened:
        signed_in.get_by_role("link", name="Live progress", exact=True).click()
    alone = LivePage(opened.value)
    alone.shows("killed_once", "attempt 2", "succeeded")
    expect(opened.value).to_have_url(re.compile(re.escape(f"{load_settings().bridge.url}/runs/{probe}/")))
