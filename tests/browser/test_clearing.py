"""A run that failed, is cleared and then succeeds, as a person sees it who keeps the page open."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from local_stack.airflow_client import AirflowClient
from pipeline.settings import load_settings
from tests.browser.conftest import OpenPage

DAG = "ingest_repeat"
RUN_S = 240.0


@pytest.mark.usefixtures("probe_folder")
def test_what_was_not_run_and_what_failed_is_succeeded_after_the_run_was_cleared(
    airflow: AirflowClient, open_page: OpenPage, screenshots: Path
) -> None:
    airflow.wait_for_dag(DAG, timeout_s=120)
    run_id = airflow.trigger(DAG, {"how": "fail"})
    live = open_page(f"{load_settings().bridge.url}/runs/{DAG}/{quote(run_id, safe='')}")
    section = live.root.locator("section.run")
    live.shows("b", "failed", "told to fail", within_s=RUN_S)
    live.shows("c", "cancelled", "not run: a task before it failed", within_s=RUN_S)
    expect(section).to_contain_text("load: b failed, told to fail")
    live.page.screenshot(path=screenshots / "clearing-1-failed.png", full_page=True)
    airflow.post(f"/api/v2/dags/{DAG}/dagRuns/{quote(run_id, safe='')}/clear", {"dry_run": False})
    for task in ("a", "b"):
        live.shows(task, "succeeded", "attempt 2", within_s=RUN_S)
    for task in ("c", "end"):
        live.shows(task, "succeeded", within_s=RUN_S)
    assert airflow.wait_for_run(DAG, run_id, timeout_s=RUN_S).state == "success"
    expect(section).not_to_contain_text("cancelled")
    expect(section).to_contain_text("4 of 4 tasks ended")
    live.page.screenshot(path=screenshots / "clearing-2-succeeded.png", full_page=True)
    # A page that is opened only now shows the same, and its tasks in the order of the DAG.
    late = open_page(live.page.url)
    late.shows("end", "succeeded")
    assert late.root.locator("table.tasks tbody th a").all_inner_texts() == ["a", "b", "c", "end"]
