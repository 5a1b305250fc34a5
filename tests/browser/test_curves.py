"""Curves of any numbers that a task reports: each is drawn as wide as the page, and none breaks it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from millrace.progress import TaskIdentity, encode_event
from millrace.progress.event import curves_event
from tests.browser.conftest import NARROW, WIDE, OpenPage
from tests.browser.live import LivePage
from tests.integration.sse_bridge.conftest import Bridge, Topic

HUGE = 1.7e308
SERIES: dict[str, list[list[Any]]] = {
    "loss": [[step, 1000 / (step + 1)] for step in range(200)],
    "both ends": [[0, -HUGE], [1, HUGE]],
    "large": [[0, 1e300], [1, 3e300]],
    "nearly equal": [[0, 1e17], [1, 1e17 + 16]],
    "smallest": [[0, 0], [1, 5e-324]],
    "constant": [[0, 0.5], [1, 0.5]],
    "zero": [[0, 0], [1, 0]],
    "negative": [[0, -3], [1, -2]],
    "gaps": [[0, 1], [1, None], [2, 5], [3, None], [4, 2], [5, 3]],
    "one point": [[7, 3]],
    "far steps": [[-HUGE, 1], [HUGE, 2]],
    "no order": [[3, 1], [1, 2], [2, 3], [2, 4]],
    "nothing measured": [[0, None]],
    "empty": [],
    "<b>markup</b> \ud800": [[0, 1], [1, 2]],
    "n" * 3_000: [[0, 1], [1, 2]],
}
DRAWN = len(SERIES) - 2


def send(topic: Topic, sequence: int, series: dict[str, list[list[Any]]]) -> None:
    event = curves_event(TaskIdentity("train_model", "r", "train"), sequence, time.time(), {"kind": "train"}, series)
    topic.send(encode_event(event), key=event["source"], dag="train_model", run="r")


def figure(live: LivePage, name: str) -> Locator:
    curve: Locator = live.page.locator("figure", has_text=name).first
    return curve


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_any_numbers_become_curves_on_both_scales_and_in_any_width(
    scheme: str, topic: Topic, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    topic.say("train", 1, dag="train_model", kind="train", unit="steps", total=10)
    send(topic, 1, SERIES)
    live = open_page(f"{bridge.url}/runs/train_model/r", color_scheme=scheme)
    live.shows("train", "1 of 10 steps")
    expect(live.page.locator("canvas")).to_have_count(DRAWN)
    for name in ("nothing measured", "empty"):
        expect(figure(live, name)).to_contain_text("no value yet")
    expect(figure(live, "both ends")).to_contain_text("1.7e+308 at step 1")
    assert live.page.locator("figure b").count() == 0
    live.page.screenshot(path=screenshots / f"curves-{scheme}.png", full_page=True)
    live.page.get_by_role("button", name="Logarithmic").click()
    expect(live.page.get_by_role("button", name="Logarithmic", pressed=True)).to_be_visible()
    expect(figure(live, "smallest")).to_contain_text("values of 0 and less are not shown on this scale")
    for width in (WIDE, NARROW):
        live.page.set_viewport_size({"width": width["width"], "height": width["height"]})
        for plot in (figure(live, "loss"), figure(live, "both ends")):
            expect(plot.locator(".uplot")).to_be_visible()
            wide = "figure => Math.abs(figure.clientWidth - figure.querySelector('.uplot').clientWidth) <= 1"
            live.page.wait_for_function(wide, arg=plot.element_handle())
        assert live.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    live.page.screenshot(path=screenshots / f"curves-logarithmic-{scheme}.png", full_page=True)
    # The next snapshot is drawn in the same plots; removed series disappear.
    send(topic, 2, {"loss": [*SERIES["loss"], [200, 0.25]], "other": [[0, 1], [1, 2]]})
    expect(figure(live, "loss")).to_contain_text("0.25 at step 200")
    expect(live.page.locator("canvas")).to_have_count(2)


def test_of_a_hundred_metrics_the_first_are_drawn_and_the_others_are_counted(
    topic: Topic, bridge: Bridge, open_page: OpenPage
) -> None:
    topic.say("train", 1, dag="train_model", kind="train", unit="steps", total=10)
    send(topic, 1, {f"metric_{number:03}": [[0, 1], [1, number]] for number in range(100)})
    live = open_page(f"{bridge.url}/runs/train_model/r")
    expect(live.page.locator("canvas")).to_have_count(24)
    expect(live.page.get_by_text("76 further curves are not shown")).to_be_visible()
