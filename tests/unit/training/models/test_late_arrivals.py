"""The shipped training function: better than its baseline, the same bytes for a seed, and scores from files alone."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pyarrow as pa
import pytest

from examples.late_arrivals import Baseline, Encoder, Reader, score, train
from millrace.errors import UsageError
from millrace.training.models import TrainedModel, TrainingJob, files_of, pack_arrays, unpack_arrays
from tests.unit.training.models.small import SmallDataset, raw_rows, small_recipe

ROWS = 20_000
RAW = raw_rows(ROWS)
RECIPE = small_recipe()


def job(seed: int = 0) -> TrainingJob:
    return TrainingJob("late_arrivals", SmallDataset(RAW, RECIPE), RECIPE, seed)


@pytest.fixture(scope="module")
def trained() -> TrainedModel:
    return train(job())


def stored(trained: TrainedModel) -> dict[str, bytes]:
    return files_of(trained.files, RECIPE, trained.metrics, trained.report)


def test_the_model_is_better_than_the_rate_by_carrier_and_hour(trained: TrainedModel) -> None:
    for split in ("val", "test"):
        assert trained.metrics[f"{split}_auc"] > trained.metrics[f"baseline_{split}_auc"] + 0.02
        assert trained.metrics[f"{split}_log_loss"] < trained.metrics[f"baseline_{split}_log_loss"]
    assert trained.metrics["test_calibration_error"] < 0.03


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(trained: TrainedModel) -> None:
    assert stored(train(job())) == stored(trained)
    assert stored(train(job(seed=1))) != stored(trained)


def test_stored_files_score_raw_rows_as_the_training_did(trained: TrainedModel) -> None:
    dataset = SmallDataset(RAW, RECIPE)
    weights = unpack_arrays(trained.files["weights.npz"])["weights"]
    encoder, reader = Encoder.of(RECIPE), Reader(job())
    columns = reader.columns(dataset.columns)
    expected = encoder.probabilities(weights, columns)
    files = stored(trained)
    scores = score(files, RAW)
    np.testing.assert_array_equal(scores, expected)
    # Rows that are scored alone have the same bits, with a carrier that was not seen and an unknown temperature, too.
    unseen = RAW["carrier"].to_pylist().index("XX")
    unknown = RAW["temp"].to_pylist().index(None)
    for row in (0, 1, unseen, unknown):
        assert score(files, RAW.slice(row, 1))[0] == scores[row]


def test_rows_without_a_feature_are_refused(trained: TrainedModel) -> None:
    with pytest.raises(UsageError, match="the rows have no column 'temp'"):
        score(stored(trained), RAW.drop_columns(["temp"]))


def test_a_column_of_nulls_is_an_indicator(trained: TrainedModel) -> None:
    recipe = small_recipe(
        features=("hour", "temp", "temp_is_null", "carrier"),
        nulls={"temp": {"rule": "indicator"}},
        statistics={**RECIPE.statistics, "temp_is_null": {"mean": 0.05, "std": 0.2, "min": False, "max": True}},
    )
    encoder = Encoder.of(recipe)
    weights = np.zeros(int(encoder.is_number.sum() + encoder.sizes.sum()) + 1)
    weights[2] = 1.0
    arrays = {each.name: np.asarray(getattr(encoder, each.name)) for each in fields(encoder)}
    files = {"weights.npz": pack_arrays({**arrays, "weights": weights})}
    scores = score(
        files_of(files, recipe, {}, ""), pa.table({"hour": [7, 7], "temp": [1.0, None], "carrier": ["AA", "AA"]})
    )
    assert scores[1] > scores[0]


def test_the_baseline_is_the_rate_of_a_cell_and_of_all_rows_in_a_small_one() -> None:
    baseline = Baseline(Encoder.of(RECIPE))
    columns = {"hour": np.repeat([5, 22], [100, 10]), "carrier": np.ones(110, np.uint16), "temp": np.zeros(110)}
    target = np.arange(110) % 4 == 0
    baseline.add(columns, target)
    rates = baseline.probabilities(columns)
    assert rates[0] == target[:100].mean()
    assert rates[-1] == target.mean()


def test_a_dataset_without_carriers_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="the baseline needs the feature 'carrier'"):
        Baseline(Encoder.of(small_recipe(features=("hour", "temp"))))


def test_a_target_of_three_classes_is_refused() -> None:
    recipe = small_recipe(classes=("a", "b", "c"))
    with pytest.raises(UsageError, match="the target has 3 classes, and this model needs two"):
        Reader(TrainingJob("late_arrivals", SmallDataset(RAW, RECIPE), recipe))
