"""A run of a thousand tasks, and many runs of a hundred: each page shows a bounded part and stays fast.

Rows are found by their links: by role and name, the browser needs longer to find thousands of elements than the page
needs to draw them.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from millrace.progress import TaskIdentity, encode_event
from millrace.progress.event import progress_event
from tests.browser.conftest import OpenPage
from tests.browser.live import LivePage
from tests.browser.test_many_runs import elements
from tests.browser.test_pace import FRAMES
from tests.integration.sse_bridge.conftest import FACTS, Bridge, StartBridge, Topic

TASKS = 1_000
ROWS = 50
FIRST_MS = 90_000
"""Time limit until a thousand rows are shown, on a busy machine."""


@pytest.fixture
def patient(start_bridge: StartBridge) -> Bridge:
    """Start a bridge that considers no task stalled or lost."""
    return start_bridge(stalled_after_s=3_600, lost_after_s=3_600)


def say(topic: Topic, run: str, index: int, state: str, sequence: int = 1, **facts: Any) -> None:
    identity = TaskIdentity("ingest_x", run, "load", index)
    event_facts = {**FACTS, "state": state, "done": sequence, "total": 10, **facts}
    event = progress_event(identity, sequence, time.time(), event_facts)
    topic.send(encode_event(event), key=event["source"], dag="ingest_x", run=run, flush=False)


def card(live: LivePage, run: str) -> Locator:
    return live.page.locator("section.run", has=live.page.locator(f'h2 a[href="/runs/ingest_x/{run}"]'))


def rows(live: LivePage, run: str) -> Locator:
    return card(live, run).locator("table.tasks tbody tr")


def row(live: LivePage, index: int) -> Locator:
    return live.page.locator("tr", has=live.page.locator(f'th a[href="/runs/ingest_x/many/load/{index}"]'))


def test_a_run_of_a_thousand_tasks_has_all_on_its_page_and_fifty_on_the_page_of_all_runs(
    topic: Topic, patient: Bridge, open_page: OpenPage
) -> None:
    for index in range(TASKS):
        if index != 700:
            say(topic, "many", index, "running" if index >= TASKS - 20 else "succeeded")
    say(topic, "many", 700, "failed", error={"type": "E", "message": "the bad one"})
    topic.flush()
    live = open_page(f"{patient.url}/runs/ingest_x/many")
    expect(card(live, "many")).to_contain_text("980 of 1,000 tasks ended, started", timeout=FIRST_MS)
    expect(rows(live, "many")).to_have_count(TASKS)
    assert elements(live.page) < 25 * TASKS
    live.page.evaluate(FRAMES)
    for sequence in range(2, 10):
        for index in range(TASKS - 20, TASKS):
            say(topic, "many", index, "running", sequence)
        topic.flush()
        live.page.wait_for_timeout(250)
    expect(row(live, TASKS - 1)).to_contain_text("9 of 10 rows")
    frame_ms = statistics.median(live.page.evaluate("window.frames_ms"))
    print(f"median frame with {TASKS:,} rows: {frame_ms:.1f} ms")
    assert frame_ms < 500
    # The page of all runs shows its first rows, and those of running and failed tasks.
    home = open_page(patient.url)
    expect(rows(home, "many")).to_have_count(ROWS)
    expect(row(home, 700)).to_contain_text("the bad one")
    expect(row(home, TASKS - 1)).to_contain_text("9 of 10 rows")
    home.page.get_by_role("link", name="950 further tasks").click()
    expect(rows(home, "many")).to_have_count(TASKS, timeout=FIRST_MS)


def test_fifty_runs_of_a_hundred_tasks_are_a_page_of_bounded_size(
    topic: Topic, patient: Bridge, open_page: OpenPage
) -> None:
    for run in range(50):
        for index in range(100):
            say(topic, f"run-{run}", index, "running")
    topic.flush()
    live = open_page(patient.url)
    for run in (0, 49):
        expect(card(live, f"run-{run}")).to_contain_text("50 further tasks", timeout=FIRST_MS)
        expect(rows(live, f"run-{run}")).to_have_count(ROWS)
    assert elements(live.page) < 50 * ROWS * 25
