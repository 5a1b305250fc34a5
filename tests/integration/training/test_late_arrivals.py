"""The shipped training data and its model, on real flights and weather, through Cassandra."""

from __future__ import annotations

from pathlib import Path

import pytest

from local_stack.flights import place_flights, place_weather
from millrace.api import Store
from millrace.load import LoadOptions
from millrace.settings import checkout
from millrace.sources import SourceOptions

MARGIN = 0.04
"""The least difference between the AUC of the model and that of the baseline on days held out."""


@pytest.fixture(scope="module")
def prepared(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Load flights and weather, and prepare the shipped entry from them."""
    folder = tmp_path_factory.mktemp("sources")
    nulls = LoadOptions(source=SourceOptions(null_values=("NA",)))
    store.load("flights", str(place_flights(folder)), nulls)
    store.load("weather", str(place_weather(folder)), nulls)
    report = store.prepare("late_arrivals", file=shipped(), run="first")
    assert report.training is not None
    assert report.training["rows_in"] == 336_776
    return store


def shipped() -> Path:
    folder = checkout()
    assert folder is not None
    return folder / "conf" / "training.yaml"


def test_the_model_beats_the_baseline_on_days_held_out(prepared: Store) -> None:
    report = prepared.train("late_arrivals", file=shipped())
    metrics = report.metrics
    print(f"test AUC {metrics['test_auc']:.4f}, baseline {metrics['baseline_test_auc']:.4f}")
    assert metrics["test_auc"] >= metrics["baseline_test_auc"] + MARGIN
    assert metrics["test_log_loss"] < metrics["baseline_test_log_loss"]
    assert report.best


def test_the_same_seed_trains_the_same_bytes(prepared: Store) -> None:
    first = prepared.train("late_arrivals", file=shipped())
    again = prepared.train("late_arrivals", file=shipped(), force=True, run_id="again")
    assert again.version != first.version
    assert prepared.model_files(again.reference) == prepared.model_files(first.reference)


def test_days_are_whole_and_splits_have_their_shares(prepared: Store) -> None:
    dataset = prepared.dataset("late_arrivals")
    recipe = dataset.recipe
    assert recipe is not None
    days = {split: set(dataset.to_table(["day"], split=split)["day"].to_pylist()) for split in recipe.splits}
    assert sum(map(len, days.values())) == len(set().union(*days.values()))
    rows = sum(figures["rows"] for figures in recipe.splits.values())
    for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        assert abs(recipe.splits[split]["rows"] / rows - share) < 0.05


def test_a_second_run_of_unchanged_inputs_is_skipped(prepared: Store) -> None:
    assert prepared.prepare("late_arrivals", file=shipped(), run="second").skipped == "unchanged"
