"""``Store.train`` on a store in memory: versions of a model, its tag, its report, and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.api import Store
from millrace.dataset import with_splits
from millrace.errors import DatasetNotFoundError, InvalidNameError, UsageError
from millrace.load import LoadOptions, LoadReport
from millrace.progress import MemorySink, TaskIdentity
from millrace.progress import task as progress_task
from millrace.training.models import ModelReport, TrainedModel, TrainingJob
from tests.unit.store.fakes import FakeCassandra
from tests.unit.store.in_memory import cassandra, csv, settings, store
from tests.unit.training.models.small import small_recipe

__all__ = ["cassandra", "csv", "settings", "store"]

ROWS = 20_000
OPTIONS: dict[str, Any] = {"global_batch_rows": 800, "columns": ["x", "target"]}


def prepared(store: Store, name: str = "late_arrivals", *, seed: int = 0) -> str:
    """Load rows with two splits and a recipe, as a preparation stores them; return the reference."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=ROWS)
    table = pa.table({"x": x, "target": x + rng.normal(size=ROWS) > 0})
    schema = small_recipe().with_recipe(table.schema)
    table = table.cast(with_splits(schema, {"train": range(2), "val": range(2, 3)}))
    report = store.load(name, table, LoadOptions(chunk_bytes=65_536))
    assert report.chunks >= 3
    return report.reference


def mean_of_true(job: TrainingJob) -> TrainedModel:
    """Train a model of one weight; its score is a number that each test can choose."""
    with job.loader("train", **OPTIONS) as loader:
        job.progress.follow(loader, epochs=1)
        means = []
        for batch in loader:
            means.append(batch["x"][batch["target"]].mean())
            job.progress.report(loss=float(means[-1]))
    metrics = {"val_auc": job.seed / 10, "baseline_val_auc": 0.5}
    return TrainedModel(metrics, {"weights.npy": np.array(means).tobytes()}, "# One weight")


@pytest.fixture
def data(store: Store) -> str:
    return prepared(store)


def test_a_model_is_a_version_with_its_files_its_data_and_its_report(store: Store, data: str) -> None:
    report = store.train(mean_of_true, "late_arrivals", seed=6)
    assert report.dataset == "late_arrivals_model"
    assert (report.data, report.seed, report.best, report.skipped, report.warnings) == (data, 6, True, "", ())
    assert report.metrics == {"val_auc": 0.6, "baseline_val_auc": 0.5}
    assert report.files == ("metrics.json", "recipe.json", "report.md", "weights.npy")
    assert report.function == "tests.unit.api.test_models:mean_of_true"
    version = store.version("late_arrivals_model@best")
    assert version.reference == report.reference
    assert version.kind == "bytes"
    assert version.settings["inputs"] == {"data": data}
    files = store.model_files("late_arrivals_model@best")
    assert list(files) == list(report.files)
    assert json.loads(files["metrics.json"]) == report.metrics
    assert json.loads(files["recipe.json"])["categories"] == {"carrier": ["AA", "UA"]}
    assert files["report.md"] == b"# One weight\n"
    assert report.bytes == sum(map(len, files.values()))
    assert str(version.source["uri"]) == f"{report.function} on {data}"


def test_the_same_seed_gives_the_same_bytes(store: Store, data: str) -> None:
    first = store.train(mean_of_true, data, seed=3)
    second = store.train(mean_of_true, data, seed=3, force=True)
    assert first.version != second.version
    assert store.model_files(first.reference) == store.model_files(second.reference)
    crc = [store.version(report.reference).source["crc32"] for report in (first, second)]
    assert crc[0] == crc[1]


def test_the_tag_moves_only_to_a_better_model(store: Store, data: str) -> None:
    best = store.train(mean_of_true, data, seed=5)
    worse = store.train(mean_of_true, data, seed=4)
    assert (best.best, worse.best) == (True, False)
    assert store.tags("late_arrivals_model") == {"best": best.version}
    better = store.train(mean_of_true, data, seed=7)
    assert better.best
    assert store.tags("late_arrivals_model") == {"best": better.version}


def test_a_model_without_a_score_has_no_tag_and_a_warning(store: Store, data: str) -> None:
    report = store.train(lambda job: TrainedModel({"loss": 0.1}, {"w": b"1"}), data)
    assert not report.best
    assert report.warnings == ("the metrics have no val_auc or val_score, so the tag best was not moved",)
    assert store.tags("late_arrivals_model") == {}


def test_the_same_data_function_and_seed_are_trained_once(store: Store, data: str) -> None:
    first = store.train(mean_of_true, data, seed=5)
    again = store.train(mean_of_true, "late_arrivals", seed=5, run_id="again")
    assert (again.version, again.skipped, again.run) == (first.version, "unchanged", "again")
    assert (again.metrics, again.files, again.best) == (first.metrics, first.files, True)
    assert len(store.versions("late_arrivals_model")) == 1
    assert store.train(mean_of_true, data, seed=6).skipped == ""
    newer = prepared(store, seed=1)
    assert store.train(mean_of_true, "late_arrivals", seed=5).data == newer
    assert len(store.versions("late_arrivals_model")) == 3


def test_a_forced_run_that_is_repeated_is_one_version(store: Store, data: str) -> None:
    calls: list[int] = []

    def never_equal(job: TrainingJob) -> TrainedModel:
        calls.append(job.seed)
        return TrainedModel({"val_auc": 0.5 + len(calls) / 100}, {"w": str(len(calls)).encode()})

    store.train(never_equal, data)
    forced = store.train(never_equal, data, force=True, run_id="forced")
    again = store.train(never_equal, data, force=True, run_id="forced")
    assert (again.version, again.skipped, len(calls)) == (forced.version, "", 2)
    assert len(store.versions("late_arrivals_model")) == 2


def test_a_skipped_run_sets_the_tag_that_a_killed_run_did_not_set(store: Store, data: str) -> None:
    store.train(mean_of_true, data, seed=5)
    store.untag("late_arrivals_model", "best")
    assert store.train(mean_of_true, data, seed=5).best
    assert "best" in store.tags("late_arrivals_model")


def test_a_deleted_model_is_trained_again(store: Store, data: str) -> None:
    first = store.train(mean_of_true, data, seed=5)
    store.untag("late_arrivals_model", "best")
    store.delete(first.reference)
    second = store.train(mean_of_true, data, seed=5)
    assert (second.skipped, second.version != first.version) == ("", True)


def test_the_run_of_a_repeated_task_is_the_same_version(store: Store, data: str) -> None:
    first = store.train(mean_of_true, data, seed=5, run_id="train_late_arrivals/r1")
    for force in (False, True):
        second = store.train(mean_of_true, data, seed=5, run_id="train_late_arrivals/r1", force=force)
        assert (second.version, second.skipped) == (first.version, "")
    assert len(store.versions("late_arrivals_model")) == 1


def test_the_report_is_kept_with_its_metrics(store: Store, data: str) -> None:
    report = store.train(mean_of_true, data, seed=5)
    kept = store.run_report(report.run)
    assert isinstance(kept, ModelReport)
    assert kept == report
    last = store.last_run("late_arrivals_model")
    assert last is not None
    assert (last.run, last.state, last.version) == (report.run, "succeeded", report.version)
    assert isinstance(store.run_report(store.version(data).run), LoadReport)


def test_a_function_that_fails_leaves_no_version_and_a_report(
    store: Store, data: str, cassandra: FakeCassandra
) -> None:
    def broken(job: TrainingJob) -> TrainedModel:
        raise RuntimeError("the loss is not finite")

    with pytest.raises(RuntimeError, match="the loss is not finite"):
        store.train(broken, data, run_id="broken")
    with pytest.raises(DatasetNotFoundError):
        store.version("late_arrivals_model")
    kept = store.run_report("broken")
    assert (kept.state, kept.dataset) == ("failed", "late_arrivals_model")
    assert isinstance(kept, LoadReport)
    assert kept.error is not None
    assert kept.error["message"] == "the loss is not finite"


def test_the_lease_of_the_data_is_held_while_the_function_runs(
    store: Store, data: str, cassandra: FakeCassandra
) -> None:
    held: list[int] = []

    def train(job: TrainingJob) -> TrainedModel:
        held.append(len(cassandra.a.rows["leases"]))
        return TrainedModel({"val_auc": 0.5}, {"w": b"1"})

    store.train(train, data)
    assert held == [1]
    store.cassandra.drain()
    assert not cassandra.a.rows["leases"]


def test_curves_and_metrics_are_those_of_the_task(store: Store, data: str) -> None:
    sink = MemorySink()
    with progress_task(TaskIdentity("cli", "run", "train"), kind="train", sinks=[sink]) as task:
        report = store.train(mean_of_true, data, seed=5, task=task)
    curves = next(event["data"]["series"] for event in reversed(sink.events) if event["source"].endswith("/curves"))
    assert len(curves["loss"]) > 3
    last = [event["data"] for event in sink.events if not event["source"].endswith("/curves")][-1]
    assert last["result"]["version"] == report.version
    assert last["result"]["metrics"] == dict(report.metrics)
    assert (last["result"]["kind"], last["result"]["inputs"]) == ("model", {"data": report.data})


def test_a_training_that_is_over_is_at_the_last_step_of_its_last_epoch(store: Store, data: str) -> None:
    def train(job: TrainingJob) -> TrainedModel:
        with job.loader("train", global_batch_rows=64) as loader:
            job.progress.follow(loader, epochs=2)
            for _ in range(2):
                for _ in loader:
                    job.progress.report(loss=0.5)
        return TrainedModel({"val_auc": 0.5}, {"w": b"1"})

    sink = MemorySink()
    with progress_task(TaskIdentity("cli", "run", "train"), kind="train", sinks=[sink]) as task:
        store.train(train, data, task=task)
    last = next(event["data"] for event in reversed(sink.events) if "done" in event["data"])
    assert last["metrics"]["step"] == last["metrics"]["steps"] > 0
    assert (last["phase"], last["done"]) == ("epoch 2 of 2", last["total"])


def test_the_first_of_many_metrics_have_room_in_the_result_of_the_task(store: Store, data: str) -> None:
    def train(job: TrainingJob) -> TrainedModel:
        return TrainedModel({f"metric {number:05}": 0.5 for number in range(5_000)}, {"w": b"1"})

    sink = MemorySink()
    with progress_task(TaskIdentity("cli", "run", "train"), kind="train", sinks=[sink]) as task:
        assert len(store.train(train, data, task=task).metrics) == 5_000
    assert 100 < len(sink.events[-1]["data"]["result"]["metrics"]) < 5_000


def test_a_negative_seed_is_refused(store: Store, data: str) -> None:
    with pytest.raises(UsageError, match="seed is -1: use a whole number from 0 on"):
        store.train(mean_of_true, data, seed=-1)


def test_an_unknown_split_and_a_missing_version_are_refused(store: Store, data: str) -> None:
    def train(job: TrainingJob) -> TrainedModel:
        job.loader("test")
        raise AssertionError

    with pytest.raises(UsageError, match="has no split 'test'"):
        store.train(train, data)
    with pytest.raises(DatasetNotFoundError, match="nowhere"):
        store.train(mean_of_true, "nowhere")


def test_a_dataset_without_a_recipe_is_refused(store: Store, csv: Callable[..., str]) -> None:
    reference = store.load("flights", csv(10)).reference
    with pytest.raises(UsageError) as refused:
        store.train(mean_of_true, "flights")
    assert str(refused.value) == (
        f"{reference} has no recipe: it was not prepared as training data: "
        "declare it in the file of training datasets, and run millrace prepare"
    )


def test_a_name_too_long_for_its_model_is_refused(store: Store) -> None:
    name = "a" * 43
    prepared(store, name)
    with pytest.raises(InvalidNameError, match="has 43 characters, and its model"):
        store.train(mean_of_true, name)


def test_a_loaded_dataset_of_the_name_of_the_model_is_not_overwritten(
    store: Store, data: str, csv: Callable[..., str]
) -> None:
    store.load("late_arrivals_model", csv(10))
    with pytest.raises(UsageError, match="was loaded and is not a model"):
        store.train(mean_of_true, data)


def test_a_function_without_data_and_what_is_no_function_are_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="a function was given without the data to train on"):
        store.train(mean_of_true)
    wrong: Any = 3
    with pytest.raises(UsageError, match="a training is named by text, or given as a function, not as int"):
        store.train(wrong, "late_arrivals")


def test_files_of_a_dataset_that_is_no_model_are_refused(store: Store, data: str) -> None:
    with pytest.raises(UsageError, match="is not a model: the model of NAME is in the dataset NAME_model"):
        store.model_files(data)


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Declare an entry whose function is in a module beside its file."""
    (tmp_path / "declared_trainer.py").write_text(
        "from millrace.training.models import TrainedModel\n"
        "def train(job):\n"
        "    return TrainedModel({'val_auc': 0.5 + job.seed / 10}, {'name': job.name.encode()})\n"
    )
    entry = SimpleNamespace(trainer=("declared_trainer", "train"), folder=tmp_path, asked=[])

    def find_training(name: str, settings: Any, *, file: str | Path | None = None) -> Any:
        entry.asked.append((name, file))
        return entry

    monkeypatch.setattr("millrace.declarations.find_training", find_training, raising=False)
    return entry


def test_a_declared_entry_is_trained_by_its_function(store: Store, data: str, declared: SimpleNamespace) -> None:
    report = store.train("late_arrivals", seed=1, file="my.yaml")
    assert declared.asked == [("late_arrivals", "my.yaml")]
    assert (report.function, report.data) == ("declared_trainer:train", data)
    assert store.model_files(report.reference)["name"] == b"late_arrivals"
    again = store.train("late_arrivals", data, seed=1)
    assert (again.skipped, again.version) == ("unchanged", report.version)


def test_an_edited_function_is_trained_again(store: Store, data: str, declared: SimpleNamespace) -> None:
    store.train("late_arrivals")
    path = declared.folder / "declared_trainer.py"
    path.write_text(path.read_text().replace("0.5 +", "0.625 +"))
    report = store.train("late_arrivals")
    assert (report.skipped, report.metrics["val_auc"], report.best) == ("", 0.625, True)


def test_an_entry_without_train_and_data_of_another_name_are_refused(
    store: Store, data: str, declared: SimpleNamespace
) -> None:
    with pytest.raises(UsageError, match="flights@3 is not a version of late_arrivals, whose function was asked for"):
        store.train("late_arrivals", "flights@3")
    declared.trainer = None
    with pytest.raises(UsageError, match="the entry 'late_arrivals' of the declared training datasets has no train"):
        store.train("late_arrivals")
