"""The look of the page: screenshots for review, and automatic checks of its accessibility."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import NARROW, WIDE, OpenPage
from tests.browser.scene import play
from tests.integration.sse_bridge.conftest import Bridge, StartBridge, Topic

PICTURES: dict[str, dict[str, Any]] = {
    "wide": {"viewport": WIDE, "color_scheme": "light"},
    "wide-dark": {"viewport": WIDE, "color_scheme": "dark"},
    "narrow": {"viewport": NARROW, "color_scheme": "light"},
    "narrow-dark": {"viewport": NARROW, "color_scheme": "dark"},
    "airflow-tab": {"viewport": {"width": 731, "height": 530}, "color_scheme": "light"},
    "airflow-tab-dark": {"viewport": {"width": 731, "height": 530}, "color_scheme": "dark"},
}
RUNNING = "manual__2026-11-25T15:20:00+00:00"


def no_complaint_of_axe(page: Page) -> None:
    violations = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in violations] == []


def no_wider_than_the_window(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_axe_finds_nothing_in_any_width_and_colour(
    topic: Topic, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    play(topic)
    for name, options in PICTURES.items():
        live = open_page(bridge.url, **options)
        live.shows("load [1]", "of 336,776 rows", run_id=RUNNING)
        live.says("Live")
        no_wider_than_the_window(live.page)
        no_complaint_of_axe(live.page)
        live.page.screenshot(path=screenshots / f"{name}.png", full_page=True)
        live.page.close()


def test_axe_finds_nothing_on_the_page_of_a_run_with_its_result(
    topic: Topic, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    play(topic)
    done = "/runs/ingest_weather/scheduled__2026-11-22T02:00:00+00:00"
    training = "/runs/train_model/dataset_triggered__2026-11-25T15:18:00+00:00"
    for name, options in PICTURES.items():
        live = open_page(bridge.url + done, **options)
        expect(live.page.locator("section.run")).to_contain_text("load: 352,014 rows added, 688,790 in the version")
        live.says("Live")
        no_wider_than_the_window(live.page)
        no_complaint_of_axe(live.page)
        live.page.screenshot(path=screenshots / f"run-{name}.png", full_page=True)
        live.page.goto(bridge.url + training)
        expect(live.page.locator("canvas")).to_have_count(3)
        no_wider_than_the_window(live.page)
        no_complaint_of_axe(live.page)
        live.page.screenshot(path=screenshots / f"training-{name}.png", full_page=True)
        live.page.close()


def test_without_javascript_the_page_is_a_table_that_reloads_itself(
    topic: Topic, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    play(topic)
    live = open_page(bridge.url, java_script_enabled=False)
    live.shows("load [1]", "running", "208,801 of 336,776 rows", run_id=RUNNING)
    live.shows("verify", "queued", run_id=RUNNING)
    live.page.screenshot(path=screenshots / "no-javascript.png", full_page=True)
    topic.say("load", 1, "failed", run="another", error={"type": "E", "message": "the newest error"})
    live.shows("load", "failed", "the newest error", run_id="another")


def test_signing_in_is_accessible_and_leads_to_the_live_page(
    topic: Topic, start_bridge: StartBridge, open_page: OpenPage, screenshots: Path
) -> None:
    token = "a token of a length that is enough"
    bridge = start_bridge(token=token)
    topic.say("load", 1, total=10)
    live = open_page(f"{bridge.url}/runs/d/r")
    no_complaint_of_axe(live.page)
    live.page.screenshot(path=screenshots / "sign-in.png")
    live.page.get_by_label("Token").fill("a token of somebody else")
    live.page.get_by_role("button", name="Sign in").click()
    live.page.get_by_role("alert").get_by_text("The token is wrong").wait_for()
    live.errors.clear()  # the browser logs the 403 for which the page has shown a message
    live.page.get_by_label("Token").fill(token)
    live.page.keyboard.press("Enter")
    live.shows("load", "1 of 10 rows")
    live.says("Live")
    topic.say("load", 2, total=10)
    live.shows("load", "2 of 10 rows")
    assert token not in live.page.url
