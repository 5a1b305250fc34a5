"""The view of the datasets: last run, state, version, rows, rejects and age, live and for a thousand datasets."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

from millrace.progress import TaskIdentity, airflow_event, encode_event
from millrace.progress.event import progress_event
from tests.browser.conftest import OpenPage
from tests.browser.live import LivePage
from tests.browser.test_pictures import PICTURES, no_complaint_of_axe, no_wider_than_the_window
from tests.integration.sse_bridge.conftest import FACTS, Bridge, Topic

DATASETS = 1_000
NAMES = ("airports", "flights", "planes", "weather", "carriers_of_all_countries_since_1990")
LONGEST_FRAME = """() => {
  window.longest = 0;
  let last = performance.now();
  const frame = (now) => {
    window.longest = Math.max(window.longest, now - last);
    last = now;
    requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""


def send(topic: Topic, dataset: str, run: str, task: str, at_s: float, state: str = "succeeded", **facts: Any) -> None:
    """Send the last event of a task of the DAG that loads a dataset, at a time in the past."""
    identity = TaskIdentity(f"ingest_{dataset}", run, task)
    data = {**FACTS, "kind": task, "dataset": dataset, "state": state, "done": 1, **facts}
    event = progress_event(identity, 1, at_s, data)
    topic.send(encode_event(event), key=event["source"], dag=identity.dag_id, run=run, flush=False)


def outcome(version: str, rows: int, **facts: Any) -> dict[str, Any]:
    return {"version": version, "rows": rows, "total_rows": rows, "rejected": 0, "skipped": "", **facts}


def play(topic: Topic) -> None:
    """Send a good, a failed, a late, a skipped and a running load."""
    now = time.time()
    for number, dataset in enumerate(NAMES):
        at_s = now - 7230 - 60 * number
        send(topic, dataset, "scheduled__2026-11-28T02:00:00+00:00", "plan", at_s)
        send(
            topic, dataset, "scheduled__2026-11-28T02:00:00+00:00", "publish", at_s + 9,
            result=outcome(f"{number + 1}-3fa9c1", 336_776 * (number + 1), rejected=17 * (number == 3)),
        )  # fmt: skip
    error = {"type": "SourceError", "message": "flights.csv, line 61,207: 'abc' in column dep_delay is no number"}
    send(topic, "flights", "scheduled__2026-11-29T02:00:00+00:00", "load", now - 600, "failed", error=error)
    send(topic, "planes", "expect__1", "check", now - 300, result={"late": True})
    skipped = ("ingest_weather", "scheduled__2026-11-29T02:00:00+00:00")
    result = outcome("4-3fa9c1", 1_347_104, skipped="unchanged")
    send(topic, "weather", skipped[1], "plan", now - 120, result=result)
    ended = airflow_event(TaskIdentity(*skipped, "load"), "skipped", time_s=now - 119)
    topic.send(encode_event(ended), key=ended["source"], dag=skipped[0], run=skipped[1], flush=False)
    send(topic, "airports", "scheduled__2026-11-29T02:00:00+00:00", "load", now, "running", total=10)
    topic.flush()


def row(live: LivePage, dataset: str) -> Locator:
    header = live.page.get_by_role("rowheader", name=dataset, exact=True)
    found: Locator = live.page.get_by_role("row").filter(has=header)
    return found


def names(live: LivePage) -> list[str]:
    return live.page.locator(".datasets tbody th").all_inner_texts()


def test_each_dataset_has_its_last_run_state_version_rows_rejects_and_age(
    topic: Topic, bridge: Bridge, open_page: OpenPage
) -> None:
    play(topic)
    live = open_page(f"{bridge.url}/datasets")
    for dataset, texts in {
        "airports": ("running", "1-3fa9c1", "336,776", "2 h 0 min", "ingest_airports scheduled__2026-11-29T02"),
        "flights": ("failed", "2-3fa9c1", "673,552", "2 h 1 min", "'abc' in column dep_delay is no number"),
        "planes": ("succeeded", "late", "3-3fa9c1", "1,010,328", "scheduled__2026-11-28T02"),
        "weather": ("skipped", "unchanged", "4-3fa9c1", "1,347,104", "17", "2 h 3 min"),
    }.items():
        for text in texts:
            expect(row(live, dataset)).to_contain_text(text)
    expect(row(live, "flights")).not_to_contain_text(" late")
    expect(live.page).to_have_title("1 failed · 1 late · Datasets · Millrace")
    # A new version ends the lateness and the failure, without a reload.
    now = time.time()
    for dataset, version in (("planes", "4-3fa9c2"), ("flights", "3-3fa9c2")):
        send(topic, dataset, "manual__1", "publish", now, result=outcome(version, 5, total_rows=1_234_567, rejected=2))
    topic.flush()
    for dataset, version in (("planes", "4-3fa9c2"), ("flights", "3-3fa9c2")):
        for text in ("succeeded", version, "1,234,567", "2"):
            expect(row(live, dataset)).to_contain_text(text)
        expect(row(live, dataset)).not_to_contain_text("late")
    expect(live.page).to_have_title("Datasets · Millrace")
    row(live, "planes").get_by_role("link").click()
    live.shows("publish", "succeeded", run_id="manual__1")
    live.page.get_by_role("link", name="Datasets").click()
    expect(row(live, "planes")).to_contain_text("4-3fa9c2")


def test_the_datasets_are_filtered_and_sorted_by_the_keyboard_alone(
    topic: Topic, bridge: Bridge, open_page: OpenPage
) -> None:
    play(topic)
    live = open_page(f"{bridge.url}/datasets")
    expect(live.page.get_by_text("5 datasets")).to_be_visible()
    assert names(live) == ["airports", "carriers_of_all_countries_since_1990", "flights", "planes", "weather"]
    live.page.get_by_label("Filter by name").focus()
    live.page.keyboard.type("PLAN")
    expect(live.page.get_by_text("1 of 5 datasets")).to_be_visible()
    assert names(live) == ["planes"]
    live.page.keyboard.type("x")
    expect(live.page.get_by_text("No dataset has such a name.")).to_be_visible()
    for _ in range(5):
        live.page.keyboard.press("Backspace")
    expect(live.page.get_by_text(re.compile("^5 datasets$"))).to_be_visible()
    head = live.page.get_by_role("columnheader", name="Rows")
    for _ in range(3):
        live.page.keyboard.press("Tab")
    expect(live.page.get_by_role("button", name="Rows")).to_be_focused()
    live.page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert names(live) == ["carriers_of_all_countries_since_1990", "weather", "planes", "flights", "airports"]
    live.page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    assert names(live)[0] == "airports"
    live.page.get_by_role("button", name="State").click()
    assert names(live)[:3] == ["flights", "planes", "airports"]


def test_a_thousand_datasets_are_shown_and_stay_fluent_under_updates(
    topic: Topic, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    now = time.time()
    for number in range(DATASETS):
        result = outcome("1-3fa9c1", number + 1)
        send(topic, f"set_{number:04}", "first", "publish", now - number, result=result)
    topic.flush()
    live = open_page(f"{bridge.url}/datasets")
    expect(live.page.get_by_text("1,000 datasets")).to_be_visible()
    live.page.evaluate(LONGEST_FRAME)
    for number in range(DATASETS // 2):
        result = outcome("2-3fa9c1", number + 1)
        send(topic, f"set_{number:04}", "second", "publish", time.time(), result=result)
        if number % 50 == 0:
            topic.flush()
            time.sleep(0.1)
    topic.flush()
    expect(row(live, "set_0499")).to_contain_text("2-3fa9c1")
    began_s = time.monotonic()
    live.page.get_by_label("Filter by name").fill("set_07")
    expect(live.page.get_by_text("100 of 1,000 datasets")).to_be_visible()
    filter_s = time.monotonic() - began_s
    longest_ms = live.page.evaluate("window.longest")
    print(f"longest time between two frames {longest_ms:.0f} ms, filter {filter_s:.2f} s")
    assert longest_ms < 1_000
    assert filter_s < 2
    live.page.screenshot(path=screenshots / "datasets-thousand.png")


def test_axe_finds_nothing_in_the_view_of_the_datasets_in_any_width_and_colour(
    topic: Topic, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    play(topic)
    for name, options in PICTURES.items():
        live = open_page(f"{bridge.url}/datasets", **options)
        expect(row(live, "weather")).to_contain_text("unchanged")
        live.says("Live")
        no_wider_than_the_window(live.page)
        no_complaint_of_axe(live.page)
        live.page.screenshot(path=screenshots / f"datasets-{name}.png", full_page=True)
        live.page.close()


def test_without_javascript_the_view_of_the_datasets_names_the_view_of_the_runs(
    bridge: Bridge, open_page: OpenPage
) -> None:
    live = open_page(f"{bridge.url}/datasets", java_script_enabled=False)
    expect(live.page.get_by_text("JavaScript shows the datasets here.")).to_be_visible()
    live.page.get_by_role("link", name="the view of the runs").click()
    expect(live.page.get_by_text("No progress was reported yet.")).to_be_visible()
