"""Two ranks train in processes of their own: the page shows them together, and each one alone."""

from __future__ import annotations

import multiprocessing
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from uuid import uuid4

from playwright.sync_api import Locator, expect

from millrace.api import Store
from millrace.load import LoadOptions
from millrace.training import TrainingLoader
from tests.browser.conftest import OpenPage
from tests.browser.live import LivePage
from tests.browser.test_pictures import PICTURES, no_complaint_of_axe, no_wider_than_the_window
from tests.browser.training_rank import PAUSED_AT, SLOW_S, STEPS, Pause, slow, table, train
from tests.integration.sse_bridge.conftest import WAIT_S, Bridge, Topic

RUN_ID = "job-7"
RUN = f"/runs/python/{RUN_ID}"
ROWS, WORLD = 8_000, 2
FIRST_PICTURE = next(iter(PICTURES))
TIERS = {"process": "process", "redis": "Redis", "cassandra": "Cassandra"}


def loaders(store: Store) -> list[TrainingLoader]:
    """Return the loaders of both ranks, over a version of which Redis has lost half of the chunks.

    The second rank waits for its slow transform.
    """
    name = f"trained_{uuid4().hex[:8]}"
    store.load(name, table(ROWS), LoadOptions(chunk_bytes=65_536))
    dataset = store.dataset(name)
    store.warm(name, form="stored")
    assert store.cache is not None
    store.cache.delete(list(dataset.refs())[::2])
    return [
        dataset.training(
            global_batch_rows=ROWS // STEPS, seed=7, rank=rank, world_size=WORLD, transform=transform,
            cache_bytes=dataset.version.raw_bytes // 6,
        )
        for rank, transform in enumerate([None, slow])
    ]  # fmt: skip


@contextmanager
def started(loader: TrainingLoader, topic: Topic) -> Iterator[tuple[Connection, multiprocessing.process.BaseProcess]]:
    """Start a rank, and give the connection to it; it is over at the end of the block."""
    spawn = multiprocessing.get_context("spawn")
    connection, of_rank = spawn.Pipe()
    process = spawn.Process(target=train, args=(loader, topic.settings, RUN_ID, of_rank))
    process.start()
    of_rank.close()
    try:
        yield connection, process
    finally:
        process.kill()
        process.join(WAIT_S)


def significant(value: float) -> str:
    """Return a number as the page shows it."""
    return f"{float(f'{value:.4g}'):,.10g}"


def chunks_from(*pauses: Pause) -> str:
    counts = {tier: sum(pause.facts.tiers[tier] for pause in pauses) for tier in TIERS}
    assert all(counts.values()), counts
    return ", ".join(f"{TIERS[tier]} {significant(100 * n / sum(counts.values()))} %" for tier, n in counts.items())


def wait(q: float, *pauses: Pause) -> str:
    """Return the longest quantile of the waiting times."""
    return f"{significant(max(round(1000 * (pause.facts.waits.quantile(q) or 0), 4) for pause in pauses))} ms"


def mean_loss(step: int, *pauses: Pause) -> str:
    return significant(sum(pause.losses[step] for pause in pauses) / len(pauses))


def line(live: LivePage, caption: str, label: str) -> Locator:
    """Return the line of the table with this caption that has this label."""
    table = live.page.get_by_role("table", name=caption, exact=True)
    header = live.page.get_by_role("rowheader", name=label, exact=True)
    row: Locator = table.get_by_role("row").filter(has=header)
    return row


def shows(live: LivePage, caption: str, **values: Any) -> None:
    for label, value in values.items():
        expect(line(live, caption, label.replace("_", " "))).to_contain_text(value)


def shows_all_ranks(live: LivePage, *ranks: Pause) -> None:
    shows(
        live, "All ranks", ranks="2 of 2", slowest_step="29 of 40", longest_wait_p50=wait(0.5, *ranks),
        longest_wait_p99=wait(0.99, *ranks), chunks_from=chunks_from(*ranks),
        mean_loss=significant(sum(newest_loss(rank) for rank in ranks) / len(ranks)),
    )  # fmt: skip


def newest_loss(rank: Pause) -> float:
    return rank.losses[max(rank.losses)]


def shows_rank(live: LivePage, rank: Pause) -> None:
    number = rank.facts.rank
    shows(
        live, "Training", rank=f"{number}, world size 2", step=f"{PAUSED_AT - number} of 40",
        wait_p50=wait(0.5, rank), wait_p99=wait(0.99, rank), loss=significant(newest_loss(rank)),
        chunks_from=chunks_from(rank),
    )  # fmt: skip


def shows_rate(live: LivePage, caption: str) -> None:
    """Wait until rows/s is shown, which is the rate over the last 30 s: for that long after a rank has paused."""
    expect(line(live, caption, "rows/s")).to_contain_text(re.compile(r"[1-9]"))


def picture(live: LivePage, path: Path) -> None:
    no_wider_than_the_window(live.page)
    no_complaint_of_axe(live.page)
    live.page.screenshot(path=path, full_page=True)


def test_two_ranks_that_train_are_shown_together_and_each_one_alone(
    store: Store, topic: Topic, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    with ExitStack() as stack:
        ranks = [stack.enter_context(started(loader, topic)) for loader in loaders(store)]
        first, second = (paused(connection) for connection, _ in ranks)
        assert (second.facts.waits.quantile(0.5) or 0) > 0.8 * SLOW_S
        for name, options in PICTURES.items():
            live = open_page(bridge.url + RUN, **options)
            if name == FIRST_PICTURE:
                shows_rate(live, "All ranks")
            shows_all_ranks(live, first, second)
            expect(live.page.locator("section.run .total")).to_contain_text("train: epoch 2 of 3, step 29 of 40")
            for number, rank in enumerate((first, second)):
                loss = f"loss {significant(newest_loss(rank))}"
                live.shows(f"train [{number}]", "running", f"step {PAUSED_AT - number} of 40", loss)
            # The curves of both ranks are one for each metric.
            expect(live.page.locator("canvas")).to_have_count(2)
            shows_curve(live, mean_loss(69, first, second))
            picture(live, screenshots / f"ranks-{name}.png")
            live.page.get_by_role("link", name="train [1]").click()
            if name == FIRST_PICTURE:
                shows_rate(live, "Training")
            shows_rank(live, second)
            expect(live.page.locator("canvas")).to_have_count(2)
            shows_curve(live, mean_loss(69, second))
            picture(live, screenshots / f"rank-{name}.png")
            live.page.close()
        plain = open_page(bridge.url + RUN, java_script_enabled=False)
        shows_all_ranks(plain, first, second)
        plain.shows("train [0]", "step 30 of 40", f"loss {significant(newest_loss(first))}")
        live = open_page(f"{bridge.url}{RUN}/train/0")
        shows_rank(live, first)
        for connection, process in ranks:
            connection.send("go on")
            process.join(WAIT_S)
            assert process.exitcode == 0
        live.shows("train [0]", "succeeded", "12,000 of 12,000 rows", "step 40 of 40")


def paused(connection: Connection) -> Pause:
    assert connection.poll(WAIT_S)
    pause: Pause = connection.recv()
    return pause


def shows_curve(live: LivePage, newest: str) -> None:
    """Wait until the curve of the loss ends with this value, at the last step that both ranks have."""
    expect(live.page.locator("figure", has_text="loss").first).to_contain_text(f"{newest} at step 69")
