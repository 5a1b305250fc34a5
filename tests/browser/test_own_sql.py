"""Own SQL through the form of Airflow: a version with its report, live page and recipe, or a refusal in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import pytest
from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from local_stack.airflow_client import AirflowClient
from millrace.api import Store
from millrace.settings import load_settings
from tests.browser.conftest import OpenPage
from tests.browser.in_airflow import RUN_S, fill, open_section, run_page, tab
from tests.browser.live import LivePage
from tests.dags.trained import entry_of, trips, weather

DAG = "prepare_training_data"
ROWS = 3_000
_TRIGGERS_MAX = 2
REFUSED = "SELECT id, city, distance FROM read_csv('/etc/passwd')"


@pytest.fixture(scope="module")
def prefix(airflow: AirflowClient) -> str:
    """Load the trips and the weather; return the prefix of their names."""
    made = f"own_{uuid4().hex[:6]}"
    with Store.connect(load_settings()) as store:
        store.load(f"{made}_trips", trips(ROWS))
        store.load(f"{made}_weather", weather(ROWS // 60 + 1))
    return made


def lines(pairs: dict[str, Any]) -> str:
    return "\n".join(f"{name}={value}" for name, value in pairs.items())


def submit(page: Page, airflow: AirflowClient, name: str, entry: dict[str, Any], picture: Path) -> str:
    """Fill the form with own SQL and start the run; return its id."""
    page.set_default_timeout(RUN_S * 1000)
    page.goto(f"{airflow.url}/dags/{DAG}")
    page.get_by_test_id("trigger-dag-button").click()
    form = page.get_by_role("dialog")
    fill(form, "input", name=name)
    open_section(form, "Own SQL")
    fill(
        form, "textarea", query=entry["query"], inputs=lines(entry["inputs"]), key="\n".join(entry["key"]),
        known=lines(entry["known"]), after="\n".join(entry["after"]),
    )  # fmt: skip
    fill(form, "input", target=entry["target"], at=entry["at"])
    form.locator('textarea[name="element_query"]').scroll_into_view_if_needed()
    page.screenshot(path=picture)
    open_section(form, "Rows of own SQL")
    fill(form, "textarea", categories="city", nulls="temp=mean")
    trigger(form)
    return unquote(page.url.partition("/runs/")[2].partition("/")[0])


def trigger(form: Locator) -> None:
    """Press the button until the run's page is shown: SQLite refuses some writers, and the form then stays open."""
    button = form.get_by_role("button", name="Trigger", exact=True)
    for attempt in range(_TRIGGERS_MAX):
        button.click()
        try:
            form.page.wait_for_url(re.compile(r"/runs/"), timeout=RUN_S * 1000 / 2)
        except PlaywrightTimeout:
            if attempt + 1 == _TRIGGERS_MAX:
                raise
        else:
            return


def live_page(open_page: OpenPage, run_id: str) -> LivePage:
    return open_page(f"{load_settings().bridge.url}/runs/{DAG}/{quote(run_id, safe='')}")


@pytest.mark.timeout(900)
def test_own_sql_over_two_datasets_becomes_a_version_and_a_query_that_reads_a_file_is_refused(
    airflow: AirflowClient, signed_in: Page, open_page: OpenPage, prefix: str, screenshots: Path
) -> None:
    name, other = f"{prefix}_late", f"{prefix}_refused"
    entry = entry_of(f"{prefix}_trips", f"{prefix}_weather")
    made = submit(signed_in, airflow, name, entry, screenshots / "form-sql.png")
    refused = submit(signed_in, airflow, other, {**entry, "query": REFUSED}, screenshots / "form-refused.png")
    alone = live_page(open_page, made)
    assert airflow.wait_for_run(DAG, refused, timeout_s=2 * RUN_S).state == "failed"
    signed_in.goto(run_page(airflow, DAG, refused))
    for live in (live_page(open_page, refused), tab(signed_in, "millrace-run")):
        shows_refusal(live)
    signed_in.screenshot(path=screenshots / "refused.png")
    run = airflow.wait_for_run(DAG, made, timeout_s=2 * RUN_S, results=("publish",))
    assert run.state == "success"
    report = run.results["publish"]
    with Store.connect(load_settings()) as store:
        assert [each.name for each in store.datasets(f"{prefix}_*") if each.name in (name, other)] == [name]
        recipe = store.dataset(name).recipe
        inputs = {alias: store.version(f"{prefix}_{alias}").reference for alias in ("trips", "weather")}
    assert recipe is not None
    assert dict(recipe.inputs) == report["training"]["inputs"] == inputs
    assert recipe.rows_in == report["training"]["rows_in"] == ROWS
    assert recipe.entry["query"] == entry["query"]
    assert {split: figures["rows"] for split, figures in recipe.splits.items()} == {
        split: figures["rows"] for split, figures in report["training"]["splits"].items()
    }
    signed_in.goto(run_page(airflow, DAG, made))
    for live in (alone, tab(signed_in, "millrace-run")):
        shows_version(live, f"{name}@{report['version']}", list(inputs.values()))
    signed_in.screenshot(path=screenshots / "own-sql.png")
    datasets = open_page(f"{load_settings().bridge.url}/datasets")
    origins = datasets.page.get_by_role("list", name=f"Lineage of {name}", exact=True)
    expect(origins).to_have_text(f"made from {', '.join(inputs.values())}")


def shows_refusal(live: LivePage) -> None:
    """Check that the reason is shown in one line, and that no later task has run."""
    live.shows("plan", "failed")
    error = live.row("plan").locator(".error")
    expect(error).to_contain_text("reads rows from the function read_csv")
    assert "\n" not in error.inner_text().strip()
    expect(live.root.locator("section .total")).to_contain_text("reads rows from the function read_csv")
    live.shows("prepare", "cancelled", "not run: an upstream task failed")


def shows_version(live: LivePage, reference: str, inputs: list[str]) -> None:
    for task in ("plan", "prepare", "verify", "publish", "warm"):
        live.shows(task, "succeeded")
    expect(live.root.locator("section .total")).to_contain_text(f"prepare: {ROWS:,} rows: train ")
    result = live.root.get_by_role("table", name="Result", exact=True)
    expect(result).to_contain_text(reference)
    expect(result).to_contain_text(", ".join(inputs))
