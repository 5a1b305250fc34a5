"""The shipped training data and its model, on real flights and weather, through Cassandra."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from local_stack.flights import place_flights, place_weather
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.sources import SourceOptions
from tests.integration.training.shipped_entry import shipped

MARGIN = 0.04
"""The least difference between the AUC of the model and that of the baseline on days held out."""


@dataclass(frozen=True)
class Shipped:
    """The store, the name of the dataset that is prepared once, and the file that declares it."""

    store: Store
    name: str
    file: Path


@pytest.fixture(scope="module")
def prepared(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """Load flights and weather, and prepare the shipped entry from them."""
    folder, prefix = tmp_path_factory.mktemp("sources"), f"s{uuid4().hex[:8]}"
    file = folder / "training.yaml"
    file.write_text(shipped(prefix))
    nulls = LoadOptions(source=SourceOptions(null_values=("NA",)))
    store.load(f"{prefix}_flights", str(place_flights(folder)), nulls)
    store.load(f"{prefix}_weather", str(place_weather(folder)), nulls)
    report = store.prepare(f"{prefix}_late", file=file, run=f"{prefix}-first")
    assert report.training is not None
    assert report.training["rows_in"] == 336_776
    return Shipped(store, f"{prefix}_late", file)


def test_the_model_beats_the_baseline_on_days_held_out(prepared: Shipped) -> None:
    report = prepared.store.train(prepared.name, file=prepared.file)
    metrics = report.metrics
    print(f"test AUC {metrics['test_auc']:.4f}, baseline {metrics['baseline_test_auc']:.4f}")
    assert metrics["test_auc"] >= metrics["baseline_test_auc"] + MARGIN
    assert metrics["test_log_loss"] < metrics["baseline_test_log_loss"]
    assert report.best


def test_the_same_seed_trains_the_same_bytes(prepared: Shipped) -> None:
    first = prepared.store.train(prepared.name, file=prepared.file)
    again = prepared.store.train(prepared.name, file=prepared.file, force=True, run_id=f"{prepared.name}-again")
    assert again.version != first.version
    assert prepared.store.model_files(again.reference) == prepared.store.model_files(first.reference)


def test_days_are_whole_and_splits_have_their_shares(prepared: Shipped) -> None:
    dataset = prepared.store.dataset(prepared.name)
    recipe = dataset.recipe
    assert recipe is not None
    days = {split: set(dataset.to_table(["day"], split=split)["day"].to_pylist()) for split in recipe.splits}
    assert sum(map(len, days.values())) == len(set().union(*days.values()))
    rows = sum(figures["rows"] for figures in recipe.splits.values())
    for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        assert abs(recipe.splits[split]["rows"] / rows - share) < 0.05


def test_a_second_run_of_unchanged_inputs_is_skipped(prepared: Shipped) -> None:
    again = prepared.store.prepare(prepared.name, file=prepared.file, run=f"{prepared.name}-second")
    assert again.skipped == "unchanged"
