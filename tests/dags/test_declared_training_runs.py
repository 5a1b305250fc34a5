"""Declared training data in a real Airflow: it follows its inputs, and survives the kill of each task's process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from local_stack.airflow_client import AirflowClient
from local_stack.stack import Stack
from millrace.api import Store
from millrace.settings import load_settings, millrace_home
from tests.dags.conftest import TRAINING_FILE
from tests.dags.declared import READ_S, until
from tests.dags.events import EventLog, has_reported, own
from tests.dags.trained import (
    categories_of,
    entry_of,
    put,
    splits_of,
    stored_of,
    trips,
    weather,
    write_function,
)

STEP_S = 300
"""Bound of one step: the runs that a load starts, beside others on two cores."""
ROWS, NEW = 6000, 1500
HOURS = (ROWS + NEW) // 60 + 1
KILLED = {
    "plan": "plan",
    "query": "prepare",
    "written": "prepare",
    "verify": "verify",
    "publish": "publish",
    "warm": "warm",
}
"""The task that is killed, by the place of the kill in ``probe/prepare_killed.py``."""
TASKS = ("plan", "prepare", "verify", "publish", "warm")


class Story:
    """One entry of the training file, its inputs in the inbox, and the runs of its steps by name."""

    def __init__(self, airflow: AirflowClient, inbox: Path) -> None:
        self.airflow = airflow
        self.inbox = inbox
        self.name = f"t{uuid4().hex[:6]}_late"
        self.steps: dict[str, dict[str, Any]] = {}

    @property
    def trips(self) -> str:
        return f"{self.name}_trips"

    @property
    def weather(self) -> str:
        return f"{self.name}_weather"

    def load(self, dataset: str, table: Any, mode: str = "replace") -> None:
        """Load a table by ``ingest_dataset``, which emits an event on the asset of the dataset."""
        put(self.inbox / f"{dataset}.parquet", table)
        conf = {"dataset": dataset, "source": f"{dataset}.parquet", "mode": mode, "warm": False}
        run_id = self.airflow.trigger("ingest_dataset", conf)
        assert self.airflow.wait_for_run("ingest_dataset", run_id, timeout_s=STEP_S).state == "success"

    def runs(self, prefix: str) -> list[dict[str, Any]]:
        return list(self.airflow.get(f"/api/v2/dags/{prefix}_{self.name}/dagRuns")["dag_runs"])

    def states(self, run: dict[str, Any]) -> dict[str, str]:
        tasks = self.airflow.task_instances(run["dag_id"], run["dag_run_id"])
        return {task["task_id"]: task["state"] for task in tasks}

    def ended(self, prefix: str) -> list[dict[str, Any]]:
        """Return the ended runs of a DAG with the results of their tasks."""
        runs = [run for run in self.runs(prefix) if run["state"] in ("success", "failed")]
        return [{**run, "result": self._result(run)} for run in runs]

    def _result(self, run: dict[str, Any]) -> dict[str, Any] | None:
        waited = self.airflow.wait_for_run(run["dag_id"], run["dag_run_id"], timeout_s=60, results=("publish", "train"))
        return waited.results.get("publish") or waited.results.get("train")

    def step(self, step: str, prefix: str, condition: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for an ended run that meets the condition, and keep it."""

        def found() -> dict[str, Any] | None:
            return next(filter(condition, self.ended(prefix)), None)

        self.steps[step] = until(found, STEP_S, lambda: (step, self.runs(prefix)))

    def by_hand(self, step: str, prefix: str) -> None:
        """Trigger a DAG of the entry, and keep its run."""
        run_id = self.airflow.trigger(f"{prefix}_{self.name}", {})
        self.airflow.wait_for_run(f"{prefix}_{self.name}", run_id, timeout_s=STEP_S)
        self.step(step, prefix, lambda run: bool(run["dag_run_id"] == run_id))


def of_version(number: int) -> Callable[[dict[str, Any]], bool]:
    """Return the condition that a run made this version."""

    def has_version(run: dict[str, Any]) -> bool:
        result = run["result"]
        return bool(result) and not result["skipped"] and result["version"].startswith(f"{number}-")

    return has_version


def is_skipped_whole(run: dict[str, Any]) -> bool:
    return run["state"] == "success" and run["result"] is None and run["run_type"] == "asset_triggered"


@pytest.fixture(scope="module")
def training() -> Iterator[Path]:
    """Return the training file, which declares nothing after the tests of this module."""
    path = Path(os.environ[TRAINING_FILE])
    yield path
    path.write_text("training: {}")


@pytest.fixture(scope="module")
def story(full_stack: Stack, airflow: AirflowClient, training: Path) -> Story:
    """Run all steps: load the inputs one after the other, append to one, and prepare again by hand."""
    story = Story(airflow, Path(load_settings().sources.roots[0]))
    write_function(training.parent)
    training.write_text(json.dumps({"training": {story.name: entry_of(story.trips, story.weather)}}))
    for prefix in ("prepare", "train"):
        airflow.wait_for_dag(f"{prefix}_{story.name}", timeout_s=READ_S)
    story.load(story.weather, weather(HOURS))
    story.step("too early", "prepare", is_skipped_whole)
    story.load(story.trips, trips(ROWS))
    story.step("first", "prepare", of_version(1))
    story.step("first model", "train", of_version(1))
    # A city that sorts before the others must not take over the code of one of them.
    story.load(story.trips, trips(NEW, first=ROWS, cities=("Aalen", "Bern")), mode="append")
    story.step("second", "prepare", of_version(2))
    story.step("second model", "train", of_version(2))
    story.by_hand("unchanged", "prepare")
    story.by_hand("unchanged model", "train")
    return story


@pytest.mark.timeout(1200)
def test_a_run_is_skipped_by_name_while_an_input_does_not_exist(story: Story, events: EventLog) -> None:
    run = story.steps["too early"]
    assert story.states(run) == dict.fromkeys(TASKS, "skipped")
    seen = events.of_run(
        run["dag_run_id"], lambda each: any(e["data"]["state"] == "skipped" for e in own(each, "plan"))
    )
    assert story.trips in own(seen, "plan")[-1]["data"]["message"]


@pytest.mark.timeout(1200)
def test_preparation_and_training_follow_the_loads_without_a_hand(story: Story, store: Store) -> None:
    for step in ("first", "first model", "second", "second model"):
        run = story.steps[step]
        assert (run["run_type"], run["state"]) == ("asset_triggered", "success"), step
    assert story.steps["first"]["result"]["training"]["rows_in"] == ROWS
    model = story.steps["first model"]["result"]
    assert model["data"] == store.version(f"{story.name}@1").reference
    assert store.version(f"{story.name}_model@best")


@pytest.mark.timeout(1200)
def test_an_append_makes_one_preparation_in_which_each_old_row_keeps_its_split_and_code(
    story: Story, store: Store
) -> None:
    made = [run for run in story.ended("prepare") if run["result"] and not run["result"]["skipped"]]
    assert sorted(run["result"]["version"].partition("-")[0] for run in made) == ["1", "2"]
    before, after = (splits_of(store, f"{story.name}@{number}") for number in (1, 2))
    assert len(before) == ROWS
    assert len(after) == ROWS + NEW
    assert {key: after[key] for key in before} == before
    old, new = (categories_of(store, f"{story.name}@{number}")["city"] for number in (1, 2))
    assert new[: len(old)] == old
    assert new[len(old) :] == ("Aalen",)
    changes = story.steps["second"]["result"]["training"]["changes"]
    assert changes["rows"] == [ROWS, ROWS + NEW]


@pytest.mark.timeout(1200)
def test_the_same_run_again_is_skipped_as_unchanged_and_starts_nothing(story: Story, store: Store) -> None:
    run = story.steps["unchanged"]
    assert (run["state"], run["result"]["skipped"]) == ("success", "unchanged")
    assert story.states(run) == {
        "plan": "success", "prepare": "skipped", "verify": "skipped", "publish": "success", "warm": "skipped",
    }  # fmt: skip
    assert story.states(story.steps["unchanged model"]) == {"train": "skipped"}
    assert [version.number for version in store.versions(story.name)] == [2, 1]
    assert [version.number for version in store.versions(f"{story.name}_model")] == [2, 1]
    # One run of the training for each version, and the one by hand.
    assert len(story.runs("train")) == 3
    for dataset in (story.name, f"{story.name}_model"):
        (asset,) = [
            each
            for each in story.airflow.get("/api/v2/assets", name_pattern=f"dataset/{dataset}")["assets"]
            if each["name"] == f"dataset/{dataset}" and each["uri"].startswith("x-cassandra://")
        ]
        emitted = story.airflow.get("/api/v2/assets/events", asset_id=asset["id"])["asset_events"]
        assert len(emitted) == 2, dataset


@pytest.mark.timeout(1200)
def test_preparation_and_training_are_seen_live(story: Story, events: EventLog) -> None:
    run_id = story.steps["first"]["dag_run_id"]
    seen = events.of_run(run_id, lambda each: has_reported(each, "warm", "succeeded"))
    phases = {each["data"].get("phase") for each in own(seen, "prepare")}
    assert {"kind", "phase"} <= set(own(seen, "prepare")[-1]["data"])
    assert phases & {"query", "join", "write"}
    run_id = story.steps["first model"]["dag_run_id"]
    trained = events.of_run(run_id, lambda each: any("series" in e["data"] for e in each))
    assert {each["data"]["kind"] for each in own(trained, "train") if "kind" in each["data"]} == {"train"}
    assert any("loss" in each["data"].get("series", {}) for each in trained)


@pytest.fixture(scope="module")
def killed(probe_folder: None, airflow: AirflowClient) -> dict[str, dict[str, Any]]:
    """Return the ended run of each DAG of ``probe/prepare_killed.py``: its id, its tasks by name, and its result."""
    with Store.connect(load_settings()) as store:
        store.load("killed_trips", trips(ROWS))
        store.load("killed_weather", weather(HOURS))
    run_ids = {}
    for place in KILLED:
        airflow.wait_for_dag(f"prepare_late_killed_{place}", timeout_s=120)
        run_ids[place] = airflow.trigger(f"prepare_late_killed_{place}", {})
    return {place: ended_run(airflow, f"prepare_late_killed_{place}", run_id) for place, run_id in run_ids.items()}


def ended_run(airflow: AirflowClient, dag_id: str, run_id: str) -> dict[str, Any]:
    waited = airflow.wait_for_run(dag_id, run_id, timeout_s=600, results=("publish",))
    tasks = {task["task_id"]: task for task in airflow.task_instances(dag_id, run_id)}
    return {"id": run_id, "state": waited.state, "tasks": tasks, "result": waited.results.get("publish")}


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("place", KILLED)
def test_a_killed_task_is_retried_and_the_version_has_the_same_bytes(
    killed: dict[str, dict[str, Any]], store: Store, airflow: AirflowClient, place: str
) -> None:
    run, name = killed[place], f"late_killed_{place}"
    assert run["state"] == "success", run
    tries = {task_id: task["try_number"] for task_id, task in run["tasks"].items()}
    assert tries == {task_id: 1 + (task_id == KILLED[place]) for task_id in TASKS}
    (version,) = store.versions(name)
    assert run["result"]["version"] == version.label
    dag_id = f"prepare_{name}"
    (event,) = airflow.get("/api/v2/assets/events", source_run_id=run["id"], source_dag_id=dag_id)["asset_events"]
    assert event["extra"]["version"] == version.label

    whole = f"late_whole_{place}"
    store.prepare(whole, entry=entry_of("killed_trips", "killed_weather"))
    assert store.dataset(name).to_table().equals(store.dataset(whole).to_table())
    assert stored_of(store, name) == stored_of(store, whole)


@pytest.mark.timeout(1200)
def test_a_killed_preparation_leaves_no_scratch_file(killed: dict[str, dict[str, Any]]) -> None:
    assert killed["query"]["state"] == "success"
    folder = Path(load_settings().training.scratch or millrace_home() / "scratch")
    assert [path.name for path in folder.glob("*late_killed_*")] == []


@pytest.mark.timeout(1200)
def test_a_killed_training_is_retried_and_makes_one_model_of_the_same_bytes(
    story: Story, airflow: AirflowClient, training: Path, store: Store
) -> None:
    name = f"{story.name}_again"
    entry = entry_of(story.trips, story.weather, schedule="0 0 29 2 *", warm=False)
    entries = {story.name: entry_of(story.trips, story.weather), name: entry}
    training.write_text(json.dumps({"training": entries}))
    write_function(training.parent, is_killed=True)
    airflow.wait_for_dag(f"prepare_{name}", timeout_s=READ_S)
    airflow.wait_for_dag(f"train_{name}", timeout_s=READ_S)
    store.prepare(name)
    run_id = airflow.trigger(f"train_{name}", {})
    assert airflow.wait_for_run(f"train_{name}", run_id, timeout_s=STEP_S).state == "success"
    (task,) = airflow.task_instances(f"train_{name}", run_id)
    assert task["try_number"] == 2
    (version,) = store.versions(f"{name}_model")
    write_function(training.parent)
    whole = store.train(name)
    assert whole.data == version.settings["inputs"]["data"]
    assert whole.reference != version.reference
    assert store.model_files(whole.reference)["weights.bin"] == store.model_files(version.reference)["weights.bin"]
