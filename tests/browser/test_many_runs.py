"""A thousand runs: the page shows the newest ones, and stays small."""

from __future__ import annotations

import time
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.live import LivePage
from tests.browser.test_pace import heap_bytes
from tests.integration.sse_bridge.conftest import Bridge, Topic

RUNS = 1_000
CARDS = LINES = 50
ELEMENTS_MAX = 10_000
"""Elements of the whole document, with fifty cards and fifty lines."""


def send(topic: Topic, first: int, count: int, state: str = "succeeded") -> None:
    """Send ``count`` runs of two tasks, one after the other."""
    for number in range(first, first + count):
        run = f"night-{number:04}"
        topic.say("plan", 1, "succeeded", run=run, kind="plan", unit="splits", total=1, flush=False)
        topic.say("load", number, state, run=run, total=RUNS * 2, flush=False)
        time.sleep(0.002)  # so that no two begin in the same millisecond
    topic.flush()


def elements(page: Page) -> int:
    count: int = page.evaluate("document.querySelectorAll('*').length")
    return count


def shown_runs(live: LivePage) -> list[str]:
    return [text.removeprefix("d ") for text in live.page.locator("section.run h2 a:not(.outside)").all_inner_texts()]


def test_of_a_thousand_runs_in_the_snapshot_the_newest_and_the_running_ones_are_shown(
    topic: Topic, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    topic.say("load", 7, run="long", total=10, elapsed_s=3600.0)
    send(topic, 0, RUNS)
    live = open_page(bridge.url)
    newest = f"night-{RUNS - 1:04}"
    live.shows("load", "succeeded", f"{RUNS - 1:,} of {RUNS * 2:,} rows", run_id=newest)
    live.shows("load", "7 of 10 rows", run_id="long")
    expected = [f"night-{number:04}" for number in range(RUNS - 1, RUNS - CARDS, -1)]
    assert shown_runs(live) == [*expected, "long"]
    lines = live.page.locator(".history tbody tr")
    expect(lines).to_have_count(LINES)
    expect(lines.first).to_contain_text(f"night-{RUNS - CARDS:04}")
    expect(live.page.get_by_text(f"{RUNS + 1 - CARDS - LINES} further runs are not shown")).to_be_visible()
    assert elements(live.page) < ELEMENTS_MAX
    live.page.screenshot(path=screenshots / "thousand-runs.png")


def test_a_thousand_runs_that_arrive_one_by_one_replace_old_ones_and_the_page_stays_small(
    topic: Topic, bridge: Bridge, open_page: OpenPage
) -> None:
    send(topic, 0, 2 * CARDS)
    live = open_page(bridge.url)
    live.shows("load", "succeeded", run_id=f"night-{2 * CARDS - 1:04}")
    expect(live.page.locator(".history tbody tr")).to_have_count(LINES)
    before, heap = elements(live.page), heap_bytes(live.page)
    for first in range(2 * CARDS, RUNS, 2 * CARDS):
        send(topic, first, 2 * CARDS)
        live.shows("load", "succeeded", run_id=f"night-{first + 2 * CARDS - 1:04}")
    topic.say("load", 1, run="another", total=2, elapsed_s=0.0)
    live.shows("load", "running", "1 of 2 rows", run_id="another")
    assert shown_runs(live)[:2] == ["another", f"night-{RUNS - 1:04}"]
    assert elements(live.page) <= before + 50
    grown = heap_bytes(live.page) - heap
    print(f"heap {heap:,} bytes with {2 * CARDS} runs, {grown:,} more with {RUNS}")
    assert grown < 10_000_000
    # An old run that ended and begins again is shown as a running one.
    topic.say("load", 5, attempt=2, run="night-0001", total=9)
    live.shows("load", "running", "attempt 2", "5 of 9 rows", run_id="night-0001")
