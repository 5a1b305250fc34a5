"""Training data on the live page: a preparation by its phases, a training by its curves, and the lineage of both."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import Locator, expect

from millrace import progress
from millrace.api import Store
from millrace.training import TrainedModel, TrainingJob
from tests.browser.conftest import OpenPage
from tests.browser.live import LivePage
from tests.browser.test_pictures import PICTURES, no_complaint_of_axe, no_wider_than_the_window
from tests.dags.trained import entry_of, trips, weather
from tests.integration.sse_bridge.conftest import WAIT_S, Bridge, Topic

ROWS, EPOCHS, BATCH_ROWS = 6_000, 2, 512
CURVES_S = 60
"""Bound of the time until curves are shown. They are sent at most every 5 s."""
SHOWN = ("wide", "wide-dark", "narrow")
PHASES = {
    "fetch flights": "prepare: fetch flights, 10 of 700,000 rows",
    "query": "prepare: query, 20 of 700,000 rows",
    "labels": "prepare: labels, 30 of 700,000 rows",
    "join": "prepare: join, 40 of 700,000 rows",
    "check": "prepare: check, 50 of 700,000 rows",
    "write": "prepare: write, 60 of 700,000 rows",
}


@dataclass
class PausedTraining:
    """A training function that waits after its first epoch until the test lets it go on."""

    paused: threading.Event = field(default_factory=threading.Event)
    resumed: threading.Event = field(default_factory=threading.Event)
    steps: int = 0

    def train(self, job: TrainingJob) -> TrainedModel:
        """Report a loss and an accuracy at each step."""
        with job.loader("train", global_batch_rows=BATCH_ROWS) as loader:
            job.progress.follow(loader, epochs=EPOCHS)
            for _ in range(EPOCHS):
                for _ in loader:
                    self.steps += 1
                    job.progress.report(loss=1 / self.steps, accuracy=1 - 0.5 / self.steps)
                self.paused.set()
                assert self.resumed.wait(8 * WAIT_S)
        return TrainedModel({"val_auc": 0.71234, "baseline_val_auc": 0.66}, {"weights.bin": b"weights"})


@dataclass
class World:
    """The runs of one training dataset, reported to the topic of a test."""

    store: Store
    topic: Topic
    name: str = field(default_factory=lambda: f"late_{uuid4().hex[:6]}")

    @contextmanager
    def task(self, work: str, kind: str, dataset: str) -> Iterator[progress.ProgressTask]:
        """Report the work of a run with one task."""
        sink = progress.kafka_sink(self.topic.settings)
        identity = progress.TaskIdentity(f"{work}_{self.name}", "manual__1", kind)
        with progress.task(identity, kind=kind, dataset=dataset, sinks=[sink]) as task:
            yield task
        sink.close()

    def load(self) -> None:
        """Load the trips and the weather."""
        for suffix, table in (("trips", trips(ROWS)), ("weather", weather(ROWS // 60 + 1))):
            dataset = f"{self.name}_{suffix}"
            with self.task(f"ingest_{suffix}", "load", dataset) as task:
                self.store.load(dataset, table, task=task)

    def prepare(self) -> str:
        """Prepare the training dataset from both; return the version."""
        fields = entry_of(f"{self.name}_trips", f"{self.name}_weather")
        with self.task("prepare", "prepare", self.name) as task:
            return self.store.prepare(self.name, entry=fields, task=task).reference

    def train(self, function: PausedTraining) -> str:
        """Train a model on the training dataset; return the version."""
        with self.task("train", "train", f"{self.name}_model") as task:
            return self.store.train(function.train, self.name, task=task).reference

    def page(self, work: str) -> str:
        return f"/runs/{work}_{self.name}/manual__1"


@pytest.fixture
def world(store: Store, topic: Topic) -> World:
    world = World(store, topic)
    world.load()
    return world


def value(live: LivePage, label: str) -> Locator:
    """Return the line of the table of the result with this label."""
    table = live.page.get_by_role("table", name="Result", exact=True)
    header = live.page.get_by_role("rowheader", name=label, exact=True)
    row: Locator = table.get_by_role("row").filter(has=header)
    return row


def lineage(live: LivePage, dataset: str) -> Locator:
    found: Locator = live.page.get_by_role("list", name=f"Lineage of {dataset}", exact=True)
    return found


def pictures(open_page: OpenPage, url: str, path: Path, shown: str, *, curves: int = 0) -> None:
    """Keep a picture of a page in each width and colour, after a text and the curves are on it."""
    for name in SHOWN:
        live = open_page(url, **PICTURES[name])
        expect(live.page.get_by_text(shown).first).to_be_visible()
        expect(live.page.locator("canvas")).to_have_count(curves)
        live.says("Live")
        no_wider_than_the_window(live.page)
        no_complaint_of_axe(live.page)
        live.page.screenshot(path=path.with_name(f"{path.name}-{name}.png"), full_page=True)
        live.page.close()


def test_a_preparation_is_shown_by_its_phases_rows_and_message(
    topic: Topic, bridge: Bridge, open_page: OpenPage
) -> None:
    said: dict[str, Any] = {"dag": "prepare_late", "kind": "prepare", "dataset": "late", "total": 700_000}
    live = open_page(f"{bridge.url}/runs/prepare_late/r/prepare")
    for number, (phase, headline) in enumerate(PHASES.items(), 1):
        topic.say("prepare", 10 * number, phase=phase, **said)
        live.shows("prepare", "running", phase, f"{10 * number} of 700,000 rows")
        expect(live.page.locator("section.run .total")).to_contain_text(headline)
    message = "327,346 rows in 3 splits, 25 chunks"
    topic.say("prepare", 700_000, "succeeded", phase="write", message=message, **said)
    live.shows("prepare", "succeeded", "700,000 of 700,000 rows", message)


def test_a_version_of_training_data_has_its_splits_dropped_rows_and_inputs_on_the_page(
    world: World, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    reference = world.prepare()
    recipe = world.store.dataset(reference).recipe
    assert recipe is not None
    live = open_page(bridge.url + world.page("prepare"))
    expect(value(live, "Version")).to_contain_text(reference)
    for split, figures in recipe.splits.items():
        late, on_time = figures["classes"][1], figures["classes"][0]
        expect(value(live, f"Rows in {split}")).to_contain_text(
            f"{figures['rows']:,} (false {on_time:,}, true {late:,})"
        )
    expect(value(live, "Rows of the main input")).to_contain_text(f"{ROWS:,}")
    expect(value(live, "Made from")).to_contain_text(", ".join(recipe.inputs.values()))
    headline = f"prepare: {ROWS:,} rows: train {recipe.splits['train']['rows']:,}, val "
    expect(live.page.locator("section.run .total")).to_contain_text(headline)
    plain = open_page(bridge.url + world.page("prepare"), java_script_enabled=False)
    expect(value(plain, "Made from")).to_contain_text(recipe.inputs["weather"])
    expect(plain.page.locator("section.run .total")).to_contain_text(headline)
    pictures(open_page, bridge.url + world.page("prepare"), screenshots / "prepared", "Made from")


def test_a_training_is_live_with_curves_and_ends_with_metrics_and_lineage(
    world: World, bridge: Bridge, open_page: OpenPage, screenshots: Path
) -> None:
    data, function = world.prepare(), PausedTraining()
    live = open_page(bridge.url + world.page("train"))
    with ThreadPoolExecutor(1) as thread:
        training = thread.submit(world.train, function)
        assert function.paused.wait(WAIT_S)
        first = function.steps
        live.shows("train", "running", "epoch 1 of 2", f"step {first} of {first}")
        figure = live.page.locator("figure", has_text="loss").first
        expect(figure).to_contain_text(f"at step {first}", timeout=1000 * CURVES_S)
        expect(live.page.locator("canvas")).to_have_count(2)
        datasets = open_page(f"{bridge.url}/datasets")
        expect(datasets.page.get_by_role("row").filter(has_text=f"{world.name}_model").first).to_contain_text("running")
        function.resumed.set()
        model = training.result(4 * WAIT_S)
    expect(figure).to_contain_text(f"at step {2 * first}", timeout=1000 * CURVES_S)
    live.shows("train", "succeeded", f"step {first} of {first}")
    expect(value(live, "Version")).to_contain_text(model)
    expect(value(live, "val_auc")).to_contain_text("0.7123 (baseline 0.66)")
    expect(value(live, "Tag")).to_contain_text("best")
    expect(value(live, "Made from")).to_contain_text(data)
    expect(live.page.locator("section.run .total")).to_contain_text(f"train: {model}, val_auc 0.7123 (baseline 0.66)")
    pictures(open_page, bridge.url + world.page("train"), screenshots / "trained", "Made from", curves=2)
    shows_lineage(datasets, world, data, model)
    pictures(open_page, f"{bridge.url}/datasets", screenshots / "lineage", "made into")


def shows_lineage(live: LivePage, world: World, data: str, model: str) -> None:
    """Check what each dataset was made from and into, without a reload, and follow a link."""
    inputs = world.store.version(data).inputs
    expect(lineage(live, world.name)).to_have_text(f"made from {inputs['trips']}, {inputs['weather']}made into {model}")
    expect(lineage(live, f"{world.name}_model")).to_have_text(f"made from {data}")
    for suffix in ("trips", "weather"):
        expect(lineage(live, f"{world.name}_{suffix}")).to_have_text(f"made into {data}")
    live.page.get_by_label("Filter by name").fill("_model")
    expect(lineage(live, world.name)).to_have_count(0)
    lineage(live, f"{world.name}_model").get_by_role("link", name=data).click()
    expect(lineage(live, world.name)).to_be_in_viewport()
    expect(live.page.get_by_label("Filter by name")).to_have_value("")
    expect(live.page.locator("tr:target")).to_contain_text(world.name)
