"""Two ranks train in processes of their own: the page shows them together, and each one alone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, expect

from tests.browser.conftest import OpenPage
from tests.browser.live import LivePage
from tests.browser.test_pictures import PICTURES, no_complaint_of_axe, no_wider_than_the_window
from tests.integration.sse_bridge.conftest import WAIT_S, Bridge, Topic

RUN = "/runs/python/job-7"
RANK = """
import sys, time
from dataclasses import replace
from millrace import progress
from millrace.settings import KafkaSettings
from millrace.training.progress import TrainingFacts, TrainingProgress
servers, topic, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])


class Loader:
    now = TrainingFacts("flights", split="train", rank=rank, world_size=2, steps=40, total_rows=4_000)

    def facts(self):
        return self.now

    def epoch(self, number, steps):
        for step in range(1, steps + 1):
            self.now.waits.add(0.25 if rank and step % 10 == 0 else 0.002)
            tiers = {"process": 6 - rank, "redis": 3, "cassandra": 1 + rank}
            self.now = replace(self.now, epoch=number, step=step, rows=100 * step, tiers=tiers)
            time.sleep(0.03)
            yield number * 40 + step


sink = progress.kafka_sink(KafkaSettings(bootstrap_servers=servers, topic=topic))
loader = Loader()
with TrainingProgress(loader, epochs=3, run_id="job-7", sinks=[sink]) as reporter:
    for number, steps in ((0, 40), (1, 30 - rank)):
        for step in loader.epoch(number, steps):
            reporter.report(loss=(1 + rank) * 60 / (60 + step), accuracy=0.5)
    print("trained", flush=True)
    sys.stdin.readline()
    for step in loader.epoch(2, 40):
        reporter.report(loss=(1 + rank) * 60 / (60 + step))
sink.close()
"""


@contextmanager
def started(topic: Topic, rank: int) -> Iterator[subprocess.Popen[str]]:
    """Start a rank that pauses in its second epoch until it gets a line; it is over at the end of the block."""
    settings = topic.settings
    command = [sys.executable, "-c", RANK, settings.bootstrap_servers, settings.topic, str(rank)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def line(live: LivePage, caption: str, label: str) -> Locator:
    """Return the line of the table with this caption that has this label."""
    table = live.page.get_by_role("table", name=caption, exact=True)
    header = live.page.get_by_role("rowheader", name=label, exact=True)
    row: Locator = table.get_by_role("row").filter(has=header)
    return row


def shows(live: LivePage, caption: str, **values: Any) -> None:
    for label, value in values.items():
        expect(line(live, caption, label.replace("_", " "))).to_contain_text(value)


def shows_all_ranks(live: LivePage) -> None:
    shows(
        live, "All ranks", ranks="2 of 2", slowest_step="29 of 40", longest_wait_p50=re.compile(r"\d ms"),
        longest_wait_p99=re.compile(r"2[45]\d(\.\d)? ms"), mean_loss="0.6959",
        chunks_from="process 55 %, Redis 30 %, Cassandra 15 %",
    )  # fmt: skip


def picture(live: LivePage, path: Path) -> None:
    no_wider_than_the_window(live.page)
    no_complaint_of_axe(live.page)
    live.page.screenshot(path=path, full_page=True)


def test_two_ranks_that_train_are_shown_together_and_each_one_alone(
    topic: Topic, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    with ExitStack() as stack:
        ranks = [stack.enter_context(started(topic, rank)) for rank in range(2)]
        for process in ranks:
            assert process.stdout is not None
            assert process.stdout.readline() == "trained\n"
        for name, options in PICTURES.items():
            live = open_page(bridge.url + RUN, **options)
            shows_all_ranks(live)
            expect(line(live, "All ranks", "rows/s")).to_contain_text(re.compile(r"[1-9]"))
            expect(live.page.locator("section.run .total")).to_contain_text("train: epoch 2 of 3, step 29 of 40")
            live.shows("train [0]", "running", "step 30 of 40", "loss 0.4615")
            live.shows("train [1]", "running", "step 29 of 40", "loss 0.9302")
            # The curves of both ranks are one for each metric.
            expect(live.page.locator("canvas")).to_have_count(2)
            expect(live.page.locator("figure", has_text="loss").first).to_contain_text("0.6977 at step 69")
            picture(live, screenshots / f"ranks-{name}.png")
            live.page.get_by_role("link", name="train [1]").click()
            shows(
                live, "Training", rank="1, world size 2", step="29 of 40", wait_p99=re.compile(r"2[45]\d(\.\d)? ms"),
                loss="0.9302", chunks_from="process 50 %, Redis 30 %, Cassandra 20 %",
            )  # fmt: skip
            expect(live.page.locator("canvas")).to_have_count(2)
            expect(live.page.locator("figure", has_text="loss").first).to_contain_text("0.9302 at step 69")
            picture(live, screenshots / f"rank-{name}.png")
            live.page.close()
        plain = open_page(bridge.url + RUN, java_script_enabled=False)
        shows_all_ranks(plain)
        plain.shows("train [0]", "step 30 of 40", "loss 0.4615")
        live = open_page(f"{bridge.url}{RUN}/train/0")
        shows(
            live, "Training", rank="0, world size 2", step="30 of 40", wait_p99=re.compile(r"[12](\.\d+)? ms"),
            loss="0.4615", chunks_from="process 60 %, Redis 30 %, Cassandra 10 %",
        )  # fmt: skip
        for process in ranks:
            process.communicate("go on\n", timeout=WAIT_S)
            assert process.returncode == 0
        live.shows("train [0]", "succeeded", "12,000 of 12,000 rows", "step 40 of 40")
