"""The shipped function trains on a prepared version of the store, and its stored files score rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples.late_arrivals import Encoder, Reader, score, train
from millrace.api import Store
from millrace.dataset import recipe_of
from millrace.sources import restore_bytes
from millrace.training import ModelReport, TrainingJob
from millrace.training.models import unpack_arrays
from tests.integration.training.prepared import RAW, load_prepared


@pytest.fixture(scope="module")
def data(store: Store) -> str:
    return load_prepared(store)


@pytest.fixture(scope="module")
def trained(store: Store, data: str) -> ModelReport:
    return store.train(train, data, seed=7)


def test_the_model_is_better_than_its_baseline_and_has_the_tag(store: Store, data: str, trained: ModelReport) -> None:
    assert trained.metrics["test_auc"] > trained.baseline["test_auc"] + 0.02
    assert (trained.data, trained.best) == (data, True)
    assert store.version(f"{trained.dataset}@best").reference == trained.reference
    assert store.version(trained.reference).settings["inputs"] == {"data": data}
    assert store.run_report(trained.run) == trained


def test_the_files_score_raw_rows_as_the_training_did(store: Store, data: str, trained: ModelReport) -> None:
    files = store.model_files(f"{trained.dataset}@best")
    dataset = store.dataset(data)
    recipe = recipe_of(dataset.schema)
    assert recipe is not None
    reader, encoder = Reader(TrainingJob("late", dataset, recipe)), Encoder.of(recipe)
    weights = unpack_arrays(files["weights.npz"])["weights"]
    scores = []
    for split in ("train", "val", "test"):
        options = {"shuffle": "none", "tail": "uneven", "lanes": 1}
        with dataset.training(split=split, global_batch_rows=1024, **options) as loader:
            scores += [encoder.probabilities(weights, reader.columns(batch)) for batch in loader]
    np.testing.assert_array_equal(np.concatenate(scores), score(files, RAW))


def test_the_same_seed_gives_the_same_bytes(store: Store, data: str, trained: ModelReport) -> None:
    again = store.train(train, data, seed=7, force=True)
    assert again.version != trained.version
    assert store.model_files(again.reference) == store.model_files(trained.reference)
    assert store.train(train, data, seed=7).skipped == "unchanged"


def test_the_files_are_restored_as_a_folder(store: Store, trained: ModelReport, tmp_path: Path) -> None:
    restore_bytes(store.dataset(trained.reference).to_batches(), tmp_path / "model", single=False)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == list(trained.files)
