"""The task that trains a model in Airflow: its result, its skips and its events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessors

from millrace.airflow import train
from millrace.airflow.assets import DATASETS
from millrace.airflow.train import Training
from millrace.api import Store
from millrace.errors import MillraceError, UsageError
from millrace.progress import ProgressTask, null_task
from tests.unit.store.in_memory import cassandra, settings, store

__all__ = ["cassandra", "settings", "store"]

FUNCTION = """
from millrace.training import TrainedModel

def train(job):
    rows = job.dataset.count_rows()
    job.progress.report(loss=1 / rows)
    return TrainedModel({"val_auc": 0.5 + job.seed / 100}, {"weights.bin": bytes([job.seed])})
"""
ENTRY: dict[str, Any] = {
    "inputs": {"trips": "trips"},
    "query": "SELECT id, distance FROM trips",
    "key": "id",
    "target": "delay > 20",
    "splits": {"train": 0.6, "val": 0.4},
    "train": "function_of_trips:train",
}


class Run:
    """A run of Airflow with one task, which is called in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
        self.run_id = "r"
        self.pushed: list[dict[str, Any]] = []
        self.events: list[Any] = []

        @contextmanager
        def step(_kind: str, **_facts: object) -> Iterator[tuple[Store, ProgressTask]]:
            yield store, null_task()

        monkeypatch.setattr(train, "step", step)
        monkeypatch.setattr(train, "get_current_context", self._context)

    def _context(self) -> dict[str, Any]:
        self._outlet_events = OutletEventAccessors()
        return {
            "ti": SimpleNamespace(xcom_push=lambda key, value: self.pushed.append({key: value})),
            "dag_run": SimpleNamespace(dag_id="train_late", run_id=self.run_id, start_date=None),
            "outlet_events": self._outlet_events,
        }

    def train(self, *, seed: int = 0, version: str = "") -> dict[str, Any]:
        report = train.train(Training("late", version, seed))
        self.events += self._outlet_events[DATASETS].asset_alias_events
        return report


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, store: Store, tmp_path: Path) -> Run:
    """Return a run of a store that has one version of the training dataset ``late``."""
    (tmp_path / "function_of_trips.py").write_text(FUNCTION)
    (tmp_path / "training.yaml").write_text(json.dumps({"training": {"late": ENTRY}}))
    monkeypatch.setattr(store, "settings", store.settings.model_copy(update={"training": _training(store, tmp_path)}))
    numbers = range(200)
    distances, delays = [float(number % 7) for number in numbers], [number * 13 % 40 for number in numbers]
    store.load("trips", pa.table({"id": list(numbers), "distance": distances, "delay": delays}))
    store.prepare("late")
    return Run(monkeypatch, store)


def _training(store: Store, folder: Path) -> Any:
    return store.settings.training.model_copy(update={"file": str(folder / "training.yaml")})


def test_a_run_makes_a_model_with_a_report_and_one_event_on_its_asset(run: Run, store: Store) -> None:
    document = run.train()
    version = store.version("late_model")
    assert (document["state"], document["version"], document["run"]) == ("succeeded", version.label, "train_late/r")
    assert document["data"] == store.version("late").reference
    (event,) = run.events
    assert event.dest_asset_key.name == "dataset/late_model"
    assert (event.extra["version"], event.extra["checksum"]) == (version.label, version.checksum.hex())
    assert event.extra["metrics"] == {"val_auc": 0.5}
    json.dumps([document, event.extra])


def test_a_model_of_the_same_data_function_and_seed_is_skipped_with_its_report(run: Run, store: Store) -> None:
    version = run.train()["version"]
    run.run_id = "second"
    with pytest.raises(AirflowSkipException, match="is a model of late@1-"):
        run.train()
    (pushed,) = run.pushed
    assert (pushed["return_value"]["skipped"], pushed["return_value"]["version"]) == ("unchanged", version)
    assert len(run.events) == 1
    assert len(store.versions("late_model")) == 1


def test_a_cleared_run_that_had_succeeded_emits_no_second_event(run: Run, store: Store) -> None:
    version = run.train()["version"]
    assert run.train()["version"] == version
    assert len(run.events) == 1
    assert len(store.versions("late_model")) == 1


def test_a_run_that_was_killed_after_its_model_was_made_emits_the_event_when_it_is_retried(
    run: Run, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(store, "tag", killed)
        with pytest.raises(KeyboardInterrupt):
            run.train()
    version = store.version("late_model").label
    assert run.train()["version"] == version
    assert [event.extra["version"] for event in run.events] == [version]
    assert store.version("late_model@best").label == version


def test_another_seed_or_version_trains_another_model(run: Run, store: Store) -> None:
    run.train()
    for number, version in ((2, ""), (3, "1")):
        run.run_id = f"run {number}"
        assert run.train(seed=number, version=version)["version"].startswith(f"{number}-")
    assert store.version("late_model@best").number == 3


def test_an_unknown_entry_or_version_is_refused_by_name(run: Run) -> None:
    with pytest.raises(UsageError, match="nothing"):
        train.train(Training("nothing"))
    with pytest.raises(MillraceError, match="99"):
        run.train(version="99")


@pytest.mark.parametrize(
    ("version", "reference"), [("", None), ("12", "late@12"), ("best", "late@best"), ("late@3", "late@3")]
)
def test_the_reference_is_a_version_of_the_training_dataset(version: str, reference: str | None) -> None:
    assert Training("late", version).reference == reference
