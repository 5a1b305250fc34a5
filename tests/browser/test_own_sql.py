"""Own SQL through the form of Airflow: a version with its report, live page and recipe, or a refusal in one line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from local_stack.airflow_client import AirflowClient
from millrace.api import Store
from millrace.settings import load_settings
from tests.browser.conftest import OpenPage
from tests.browser.in_airflow import RUN_S, fill, open_section, run_page, tab
from tests.browser.live import LivePage
from tests.dags.trained import entry_of, trips, weather

DAG = "prepare_training_data"
ROWS = 3_000
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
    page.screenshot(path=picture)
    open_section(form, "Rows of own SQL")
    fill(form, "textarea", categories="city", nulls="temp=mean")
    page.screenshot(path=picture.with_stem(f"{picture.stem}-rows"))
    form.get_by_role("button", name="Trigger", exact=True).click()
    page.wait_for_url(re.compile(r"/runs/"), timeout=RUN_S * 1000)
    return unquote(page.url.partition("/runs/")[2].partition("/")[0])


def live_page(open_page: OpenPage, run_id: str) -> LivePage:
    return open_page(f"{load_settings().bridge.url}/runs/{DAG}/{quote(run_id, safe='')}")


def test_own_sql_over_two_datasets_becomes_a_version_with_report_live_page_and_recipe(
    airflow: AirflowClient, signed_in: Page, open_page: OpenPage, prefix: str, screenshots: Path
) -> None:
    name = f"{prefix}_late"
    entry = entry_of(f"{prefix}_trips", f"{prefix}_weather")
    run_id = submit(signed_in, airflow, name, entry, screenshots / "form-sql.png")
    alone = live_page(open_page, run_id)
    signed_in.goto(run_page(airflow, DAG, run_id))
    inside = tab(signed_in, "millrace-run")
    run = airflow.wait_for_run(DAG, run_id, timeout_s=2 * RUN_S, results=("publish",))
    assert run.state == "success"
    report = run.results["publish"]
    assert report["training"]["rows_in"] == ROWS
    with Store.connect(load_settings()) as store:
        recipe = store.dataset(name).recipe
        inputs = {alias: store.version(f"{prefix}_{alias}").reference for alias in ("trips", "weather")}
    assert recipe is not None
    assert dict(recipe.inputs) == inputs
    assert recipe.entry["query"] == entry["query"]
    assert dict(recipe.splits) == {
        split: {**figures, "classes": tuple(figures["classes"])}
        for split, figures in report["training"]["splits"].items()
    }
    for live in (alone, inside):
        for task in ("plan", "prepare", "verify", "publish", "warm"):
            live.shows(task, "succeeded")
        expect(live.root.locator("section")).to_contain_text(f"prepare: {ROWS:,} rows: train ")
        result = live.root.get_by_role("table", name="Result", exact=True)
        expect(result).to_contain_text(f"{name}@{report['version']}")
        expect(result).to_contain_text(", ".join(inputs.values()))
    signed_in.screenshot(path=screenshots / "own-sql.png")
    datasets = open_page(f"{load_settings().bridge.url}/datasets")
    origins = datasets.page.get_by_role("list", name=f"Lineage of {name}", exact=True)
    expect(origins).to_have_text(f"made from {', '.join(inputs.values())}")


def test_a_query_that_reads_a_file_is_refused_in_one_line_in_the_run_and_on_the_page(
    airflow: AirflowClient, signed_in: Page, open_page: OpenPage, prefix: str, screenshots: Path
) -> None:
    name = f"{prefix}_refused"
    entry = entry_of(f"{prefix}_trips", f"{prefix}_weather", query=REFUSED)
    run_id = submit(signed_in, airflow, name, entry, screenshots / "form-refused.png")
    assert airflow.wait_for_run(DAG, run_id, timeout_s=RUN_S).state == "failed"
    alone = live_page(open_page, run_id)
    signed_in.goto(run_page(airflow, DAG, run_id))
    inside = tab(signed_in, "millrace-run")
    for live in (alone, inside):
        live.shows("prepare", "failed")
        error = live.row("prepare").locator(".error")
        expect(error).to_contain_text("read_csv")
        assert "\n" not in error.inner_text().strip()
        expect(live.root.locator("section .total")).to_contain_text("read_csv")
        live.shows("publish", "cancelled", "not run: an upstream task failed")
    signed_in.screenshot(path=screenshots / "refused.png")
    with Store.connect(load_settings()) as store:
        assert store.datasets(name) == []
