"""The live page of a bridge that reads the real Kafka, for every course that a task can take."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from playwright.sync_api import BrowserContext, expect

from millrace import progress
from millrace.progress import TaskIdentity, airflow_event, encode_event
from millrace.settings import load_settings
from tests.browser.conftest import OpenPage
from tests.browser.live import WAIT_MS
from tests.integration.sse_bridge.conftest import Bridge, StartBridge, Topic
from tests.waiting import until

WORK = """
import os, signal, sys, time
from millrace import progress
from millrace.settings import KafkaSettings
servers, topic, how = sys.argv[1:]
sink = progress.kafka_sink(KafkaSettings(bootstrap_servers=servers, topic=topic))
identity = progress.TaskIdentity("cli", how, "load")
with progress.task(identity, kind="load", dataset="flights", total=100, sinks=[sink]) as task:
    task.advance(40)
    task.phase("write")
    sink.flush(20)
    if how == "exception":
        raise ValueError("line 7 is no number")
    if how == "exit":
        sys.exit(3)
    if how in ("sigterm", "sigkill"):
        os.kill(os.getpid(), signal.SIGTERM if how == "sigterm" else signal.SIGKILL)
        time.sleep(60)
    task.advance(60)
"""
ENDS = {
    "success": ("succeeded", "100 of 100 rows"),
    "exception": ("failed", "ValueError: line 7 is no number"),
    "exit": ("failed", "exit code 3"),
    "sigterm": ("cancelled", "stopped by signal SIGTERM"),
    "sigkill": ("stalled", "no report for"),
}


def test_every_end_of_a_task_is_shown_within_thirty_seconds(topic: Topic, bridge: Bridge, open_page: OpenPage) -> None:
    live = open_page(bridge.url)
    live.says("Live")
    settings = topic.settings
    command = [sys.executable, "-c", WORK, settings.bootstrap_servers, settings.topic]
    started = {how: subprocess.Popen([*command, how], stderr=subprocess.PIPE) for how in ENDS}
    for how, process in started.items():
        _, errors = process.communicate(timeout=60)
        assert (process.returncode == 0) == (how == "success"), errors
    ended_s = time.monotonic()
    for how, texts in ENDS.items():
        live.shows("load", *texts, run_id=how, within_s=30 - (time.monotonic() - ended_s))
    # A stalled task runs again with its next event; an ended one keeps its state.
    topic.say("load", 900, dag="cli", run="sigkill", total=1000)
    live.shows("load", "running", "900 of 1,000 rows", run_id="sigkill")
    topic.say("load", 901, dag="cli", run="sigterm", total=1000)
    topic.say("load", 902, dag="cli", run="sigkill", total=1000)
    live.shows("load", "902 of 1,000 rows", run_id="sigkill")
    live.shows("load", "cancelled", run_id="sigterm")


def test_a_run_is_shown_from_queued_through_a_retry_to_its_end(
    topic: Topic, bridge: Bridge, open_page: OpenPage
) -> None:
    live = open_page(f"{bridge.url}/runs/ingest_x/r")
    expect(live.page.get_by_text("No progress was reported for this run.")).to_be_visible()
    for number, task in enumerate(("plan", "load", "publish")):
        queued = airflow_event(TaskIdentity("ingest_x", "r", task), "queued", time_s=time.time() + number / 100)
        topic.send(encode_event(queued), key=queued["source"], dag="ingest_x", run="r")
    for task in ("plan", "load", "publish"):
        live.shows(task, "queued")
    say: Callable[..., Any] = lambda *values, **facts: topic.say(*values, dag="ingest_x", run="r", **facts)  # noqa: E731
    say("plan", 1, "succeeded", kind="plan", total=1, unit="splits")
    live.shows("plan", "succeeded", "1 of 1 splits")
    say("load", 3, phase="write", total=8, counters={"retries": 2, "under_replicated": 1})
    live.shows("load", "running", "write", "3 of 8 rows", "2 retries", "1 chunks with one replica")
    bar = live.row("load").get_by_role("progressbar", name="load")
    expect(bar).to_have_attribute("aria-valuetext", "3 of 8 rows")
    say("load", 4, "retrying", total=8, error={"type": "StoreUnavailableError", "message": "no node answers"})
    live.shows("load", "retrying", "StoreUnavailableError: no node answers")
    say("load", 1, attempt=2, total=8)
    live.shows("load", "attempt 2", "running", "1 of 8 rows")
    # The old attempt was only unreachable: its late events change nothing.
    say("load", 7, "failed", total=8, error={"type": "E", "message": "from the dead"})
    say("load", 2, attempt=2, total=8)
    live.shows("load", "2 of 8 rows")
    expect(live.row("load")).not_to_contain_text("from the dead")
    say("load", 8, "succeeded", attempt=2, total=8)
    say("publish", 8, "succeeded", kind="publish", total=8)
    live.shows("load", "attempt 2", "succeeded", "8 of 8 rows")
    heading = live.run("r").get_by_role("heading")
    expect(heading).to_contain_text("succeeded")
    expect(heading).to_contain_text("3 of 3 tasks ended")


def test_the_time_left_is_shown_once_the_rate_is_reliable_and_hidden_for_a_stalled_task(
    topic: Topic, start_bridge: StartBridge, open_page: OpenPage
) -> None:
    bridge = start_bridge(stalled_after_s=3, lost_after_s=6)
    live = open_page(bridge.url)
    live.says("Live")
    topic.say("load", 10, total=200, rate=10.0, elapsed_s=1.0)
    live.shows("load", "10 of 200 rows")
    expect(live.row("load")).not_to_contain_text("about")
    topic.say("load", 100, total=200, rate=10.0, elapsed_s=9.0)
    live.shows("load", "about 10 s")
    live.shows("load", "stalled", "no report for")
    expect(live.row("load")).not_to_contain_text("about")
    live.shows("load", "lost")
    expect(live.page.get_by_role("alert")).to_contain_text("load of r lost")
    topic.say("load", 150, total=200, rate=10.0, elapsed_s=19.0)
    live.shows("load", "running", "a few seconds")


def test_a_runs_page_shows_its_result_as_a_table_and_links_to_airflow(
    topic: Topic, bridge: Bridge, open_page: OpenPage
) -> None:
    result = {
        "dataset": "flights", "version": "2-3fa9c1", "kind": "table", "mode": "append", "rows": 400_000,
        "total_rows": 800_000, "raw_bytes": 12_345_678, "stored_bytes": 3_000_000, "columns_total": 3,
        "columns": [["<b>carrier</b>", "string"], ["dep_delay", "int64"]],
    }  # fmt: skip
    topic.say("publish", 1, dag="ingest_x", run="a+b", kind="publish", attempt=2)
    live = open_page(f"{bridge.url}/runs/ingest_x/a%2Bb")
    live.shows("publish", "running")
    expect(live.page.get_by_role("table", name="Result")).to_have_count(0)
    topic.say("publish", 2, "succeeded", dag="ingest_x", run="a+b", kind="publish", attempt=2, result=result)
    expect(live.run("a+b")).to_contain_text("load: 400,000 rows added, 800,000 in the version")
    outcome = live.page.get_by_role("table", name="Result")
    for line in ("Version flights@2-3fa9c1", "Rows added 400,000", "Raw size 12.3 MB", "Stored size 3.0 MB"):
        expect(outcome.get_by_role("row", name=line)).to_be_visible()
    columns = live.page.get_by_role("table", name="Columns")
    expect(columns.get_by_role("row", name="<b>carrier</b> string")).to_be_visible()
    expect(live.page.get_by_text("1 further columns")).to_be_visible()
    base = f"{load_settings().airflow.url}/dags/ingest_x/runs/a%2Bb"
    expect(live.page.get_by_role("link", name="Airflow")).to_have_attribute("href", base)
    log = live.row("publish").get_by_role("link", name="log")
    expect(log).to_have_attribute("href", f"{base}/tasks/publish?try_number=2")


def test_times_follow_the_bridges_clock_when_the_browsers_is_wrong(
    topic: Topic, bridge: Bridge, open_page: OpenPage, open_context: Callable[..., BrowserContext]
) -> None:
    topic.say("load", 10, total=200, elapsed_s=100.0)
    context = open_context()
    context.clock.install(time=time.time() + 7_200)
    for _ in range(2):  # the second tab gets its snapshot from the shared worker of the first one
        live = open_page(bridge.url, context)
        expect(live.row("load")).to_contain_text(re.compile(r"[0-9]{2} rows[1-4] min [0-9]+ s$"))
        expect(live.run("r").get_by_role("heading")).to_contain_text(re.compile(r"started [0-9:]+, [1-4] min"))


def test_the_page_reconnects_to_a_restarted_bridge(topic: Topic, bridge: Bridge, open_page: OpenPage) -> None:
    live = open_page(bridge.url)
    topic.say("load", 1, total=10)
    live.shows("load", "1 of 10 rows")
    for done, how in ((2, signal.SIGTERM), (4, signal.SIGKILL)):
        bridge.stop(how)
        live.says("Connection lost")
        live.shows("load", f"{done - 1} of 10 rows")
        topic.say("load", done, total=10)
        bridge.start()
        live.says("Live", within_s=60)
        live.shows("load", f"{done} of 10 rows")
        topic.say("load", done + 1, total=10)
        live.shows("load", f"{done + 1} of 10 rows")


def test_eight_tabs_share_one_stream_and_are_all_live(
    topic: Topic, bridge: Bridge, open_page: OpenPage, open_context: Callable[..., BrowserContext]
) -> None:
    context = open_context()
    topic.say("load", 1, total=10)
    topic.say("load", 1, total=10, run="other")
    places = ["/", "/runs/d/r", "/runs/d/other", "/runs/d/r/load", "/", "/", "/runs/d/r/load/-1", "/"]
    tabs = [open_page(bridge.url + place, context=context) for place in places]
    assert len(tabs) == 8
    for number, live in enumerate(tabs):
        live.shows("load", "1 of 10 rows", run_id="other" if number == 2 else "r")
    topic.say("load", 2, total=10)
    topic.say("load", 2, total=10, run="other")
    for number, live in enumerate(tabs):
        live.shows("load", "2 of 10 rows", run_id="other" if number == 2 else "r")
    assert bridge.metric("streams") == 1
    expect(tabs[1].page.get_by_role("heading", name="other")).to_have_count(0)
    for live in tabs[:-1]:
        live.page.close()
    topic.say("load", 3, total=10)
    tabs[-1].shows("load", "3 of 10 rows", run_id="r")
    tabs[-1].page.close()
    until(lambda: bridge.metric("streams") == 0, "the stream of a browser that was left")


HOSTILE = {
    "html": "<img src=x onerror=alert(1)><script>alert(1)</script>",
    "lines": "a\r\nb\n\ndata: c\revent: d\u2028e\u2029f\x85g",
    "controls": "NUL \x00 escape \x1b[31m bell \x07 bidi \u202e surrogate \ud800 end",
    "url": "javascript:alert(1)//\"'>`${1}{{7*7}}",
    "long": "x" * 300_000 + "<b>the end</b>",
}


def test_the_page_shows_hostile_field_values_as_text(topic: Topic, bridge: Bridge, open_page: OpenPage) -> None:
    live = open_page(bridge.url)
    live.page.on("dialog", lambda dialog: live.errors.append(f"dialog: {dialog.message}"))
    live.says("Live")
    for nasty in HOSTILE.values():
        # Kafka limits a record to a megabyte, which three fields share.
        short = nasty[:1000]
        named = short.replace("\ud800", "")  # a URL cannot hold half a surrogate pair
        topic.say(
            named, 1, "failed", dag=named, run=named, dataset=short, kind=short, phase=nasty, unit=short,
            message=nasty, error={"type": short, "message": nasty}, metrics={short: 1.0},
        )  # fmt: skip
    topic.say("after", 1, total=2)
    live.shows("after", "1 of 2 rows")
    # Browsers without JavaScript show the same.
    plain = open_page(bridge.url, java_script_enabled=False)
    plain.shows("after", "1 of 2 rows")
    for page in (live.page, plain.page):
        assert page.locator("#runs img, #runs script, #runs b").count() == 0
        rows = page.get_by_role("row").filter(has_text="failed").all_text_contents()
        assert len(rows) == len(HOSTILE)
        hrefs = [link.get_attribute("href") or "" for link in page.get_by_role("link").all()]
        assert all(href.startswith(("/", f"{load_settings().airflow.url}/dags/")) for href in hrefs)
    rows = live.page.get_by_role("row").filter(has_text="failed").all_text_contents()
    for nasty in HOSTILE.values():
        whole = nasty.partition("\ud800")[0]
        assert any(text.count(whole) >= 2 for text in rows), whole[:100]
    live.page.get_by_role("rowheader").get_by_role("link", name=HOSTILE["html"]).click()
    expect(live.page.get_by_role("heading", level=1)).to_contain_text(HOSTILE["html"])
    expect(live.page.get_by_role("row").nth(1)).to_contain_text("failed")


def test_a_curve_of_a_hundred_thousand_steps_is_complete_for_a_late_joiner_after_a_restart(
    topic: Topic, bridge: Bridge, open_page: OpenPage
) -> None:
    sink = progress.kafka_sink(topic.settings)
    identity = TaskIdentity("train_model", "r", "train")
    with progress.task(identity, kind="train", total=100_000, unit="steps", sinks=[sink]) as task:
        for step in range(1, 100_001):
            task.advance(1)
            task.curve("loss", step, 1 / step)
            if step % 1000 == 0:
                task.curve("val_loss", step, 2 / step)
    sink.close()
    bridge.stop()
    bridge.start()
    live = open_page(f"{bridge.url}/runs/train_model/r/train")
    live.shows("train", "succeeded", "100,000 of 100,000 steps")
    loss = live.page.get_by_role("img", name=re.compile("^loss by step"))
    expect(loss).to_have_accessible_name("loss by step, from 1 at step 1 to 0.00001 at step 100000")
    val_loss = live.page.get_by_role("img", name=re.compile("^val_loss by step"))
    expect(val_loss).to_have_accessible_name("val_loss by step, from 0.002 at step 1000 to 0.00002 at step 100000")
    # The keyboard reaches every point, and the caption shows its value.
    caption = live.page.locator("figure", has=loss).locator("figcaption")
    expect(caption).to_have_text("loss 0.00001 at step 100,000")
    keyboard = live.page.keyboard
    loss.focus()
    keyboard.press("Home")
    expect(caption).to_have_text("loss 1 at step 1")
    steps = [1]
    while steps[-1] < 100_000:
        keyboard.press("ArrowRight")
        steps.append(int(caption.inner_text().rpartition(" ")[2].replace(",", "")))
        assert len(steps) <= 256
    assert len(steps) >= 128
    assert max(b - a for a, b in pairwise(steps)) < 2_000  # no gaps
    keyboard.press("Tab")
    expect(caption).to_have_text("loss 0.00001 at step 100,000")
    # The pointer does the same.
    box = loss.bounding_box()
    assert box is not None
    live.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 80)
    expect(caption).to_have_text(re.compile(r"^loss 0\.0000\d+ at step [45]\d,\d{3}$"))
    live.page.mouse.move(0, 0)
    expect(caption).to_have_text("loss 0.00001 at step 100,000")


def test_the_page_can_be_used_by_keyboard_and_paused(topic: Topic, bridge: Bridge, open_page: OpenPage) -> None:
    live = open_page(bridge.url)
    topic.say("load", 1, total=10)
    live.shows("load", "1 of 10 rows")
    keyboard = live.page.keyboard
    for name in ("Millrace", "Runs", "Datasets", "Pause updates"):
        keyboard.press("Tab")
        expect(live.page.locator(":focus")).to_have_accessible_name(name)
    keyboard.press("Enter")
    live.says("Paused")
    topic.say("load", 2, total=10)
    until(lambda: bridge.get("/api/progress").json()["tasks"][0]["done"] == 2, "the event to pass")
    live.page.wait_for_timeout(1500)  # longer than any repaint would take
    expect(live.row("load")).to_contain_text("1 of 10 rows")
    keyboard.press("Enter")
    live.shows("load", "2 of 10 rows")
    keyboard.press("Tab")
    keyboard.press("Enter")
    expect(live.page.locator(":focus")).to_have_accessible_name("Theme: light")
    keyboard.press("Tab")
    expect(live.page.locator(":focus")).to_have_accessible_name("d r")
    keyboard.press("Enter")
    expect(live.page).to_have_url(re.compile("/runs/d/r$"))
    live.shows("load", "2 of 10 rows", within_s=WAIT_MS / 1000)


def test_screen_readers_announce_failures_at_once_and_other_changes_rarely(
    topic: Topic, bridge: Bridge, open_page: OpenPage
) -> None:
    topic.say("load", 1, "failed", run="old", error={"type": "E", "message": "long known"})
    live = open_page(bridge.url)
    live.shows("load", "failed", run_id="old")
    spoken, alarm = live.page.get_by_role("status"), live.page.get_by_role("alert")
    expect(spoken).to_have_text("1 failed")
    expect(alarm).to_have_text("")
    changes = "new MutationObserver(all => window.heard = (window.heard ?? 0) + all.length)"
    spoken.evaluate(f"line => {changes}.observe(line, {{childList: true, characterData: true, subtree: true}})")
    for number in range(1, 60):
        topic.say("load", number, total=100)
    topic.say("load", 60, "failed", total=100, error={"type": "E", "message": "just now"})
    live.shows("load", "60 of 100 rows", run_id="r")
    expect(alarm).to_have_text("load of r failed: just now")
    assert live.page.evaluate("window.heard ?? 0") <= 1


def test_the_browsers_own_eventsource_reconnects_and_gets_every_event_once(
    topic: Topic, bridge: Bridge, open_page: OpenPage
) -> None:
    topic.say("load", 1)
    live = open_page(bridge.url)
    live.says("Live")
    live.page.evaluate(
        """() => {
            window.got = [];
            const source = new EventSource("/events");
            source.addEventListener("snapshot", () => window.got.push("snapshot"));
            source.addEventListener("reset", () => window.got.push("reset"));
            source.addEventListener("progress", ({data}) => window.got.push(Number(JSON.parse(data).sequence)));
        }"""
    )

    def got() -> Any:
        return live.page.evaluate("window.got")

    until(lambda: len(got()) == 1, "1 events")
    for number in (2, 3):
        topic.say("load", number)
    until(lambda: len(got()) == 3, "3 events")
    bridge.stop()
    for number in (4, 5):
        topic.say("load", number)
    bridge.start()
    until(lambda: len(got()) == 5, "5 events")
    topic.say("load", 6)
    until(lambda: 6 in got(), "the last event")
    assert got() == ["snapshot", 2, 3, 4, 5, 6]
