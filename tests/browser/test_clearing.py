"""Work repeated in every way that Airflow offers, as shown on a page that stays open."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from local_stack.airflow_client import AirflowClient
from millrace.settings import load_settings
from tests.browser.conftest import OpenPage
from tests.dags.repeated import DAG, OURS, RUN_S, WAYS, agrees


@pytest.mark.usefixtures("probe_folder")
def test_failed_and_cancelled_tasks_are_shown_as_succeeded_after_the_run_was_cleared(
    airflow: AirflowClient, open_page: OpenPage, screenshots: Path
) -> None:
    airflow.wait_for_dag(DAG, timeout_s=120)
    run_id = airflow.trigger(DAG, {"how": "fail"})
    live = open_page(f"{load_settings().bridge.url}/runs/{DAG}/{quote(run_id, safe='')}")
    section = live.root.locator("section.run")
    live.shows("b", "failed", "told to fail", within_s=RUN_S)
    live.shows("c", "cancelled", "not run: an upstream task failed", within_s=RUN_S)
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
    # A page that is opened only now shows the same, with its tasks in the order of the DAG.
    late = open_page(live.page.url)
    late.shows("end", "succeeded")
    # This waits for the script: rows that the server renders for browsers without JavaScript have no links.
    expect(late.root.locator("table.tasks tbody th a")).to_have_text(["a", "b", "c", "end"])


@pytest.mark.usefixtures("probe_folder")
@pytest.mark.parametrize("name", WAYS)
def test_after_repeated_work_the_api_watch_and_the_open_page_agree_with_airflow(
    name: str, airflow: AirflowClient, open_page: OpenPage, screenshots: Path
) -> None:
    airflow.wait_for_dag(DAG, timeout_s=120)
    run_id = airflow.trigger(DAG, WAYS[name].conf)
    live = open_page(f"{load_settings().bridge.url}/runs/{DAG}/{quote(run_id, safe='')}")
    for number, (do, expected) in enumerate(WAYS[name].steps, 1):
        do(airflow, run_id)
        assert airflow.wait_for_run(DAG, run_id, timeout_s=RUN_S).state == expected
        agrees(airflow, run_id)
        states = {}
        for task in airflow.task_instances(DAG, run_id):
            states[task["task_id"]] = OURS[task["state"]]
            live.shows(task["task_id"], OURS[task["state"]], within_s=60)
            if task["try_number"] > 1:
                live.shows(task["task_id"], f"attempt {task['try_number']}")
        well = set(states.values()) <= {"succeeded", "skipped"}
        heading = live.root.locator("section.run h2")
        expect(heading).to_contain_text("4 of 4 tasks ended")
        expect(heading.locator(".state")).to_have_text("succeeded" if well else re.compile("failed|cancelled"))
        picture = f"clearing-{name.replace(' ', '-').replace(',', '')}-{number}.png"
        live.page.screenshot(path=screenshots / picture, full_page=True)
