"""What a training function gets and returns: loaders with the seed of the job, and results that are checked."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from millrace.errors import UsageError
from millrace.training.models import TrainedModel, TrainingJob, check_trained
from tests.unit.training.models.small import small_recipe

FILES = {"weights.npz": b"1"}


def test_a_loader_has_the_split_and_the_seed_of_the_job() -> None:
    calls: list[dict[str, Any]] = []
    dataset: Any = SimpleNamespace(training=lambda **options: calls.append(options))
    job = TrainingJob("late_arrivals", dataset, small_recipe(), seed=7)
    job.loader("train")
    job.loader("val", global_batch_rows=64, shuffle="none", seed=8)
    assert calls == [
        {"split": "train", "global_batch_rows": 4096, "seed": 7},
        {"split": "val", "global_batch_rows": 64, "seed": 8, "shuffle": "none"},
    ]


def test_a_message_is_shown_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    dataset: Any = None
    with caplog.at_level("INFO"):
        TrainingJob("late_arrivals", dataset, small_recipe()).log("epoch 2 is the best")
    assert "epoch 2 is the best" in caplog.text


def test_numbers_of_numpy_and_other_bytes_are_accepted() -> None:
    trained = check_trained(TrainedModel({"val_auc": np.float32(0.5)}, {"a/b.bin": bytearray(b"x")}), "m:train")
    assert trained == TrainedModel({"val_auc": 0.5}, {"a/b.bin": b"x"})
    assert type(trained.metrics["val_auc"]) is float
    assert type(trained.files["a/b.bin"]) is bytes


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "the training function m:train returned NoneType, not a TrainedModel"),
        ({"val_auc": 0.7}, "the training function m:train returned dict, not a TrainedModel"),
        (TrainedModel({"val_auc": math.nan}, FILES), "returned the metric 'val_auc' as nan, not as a finite number"),
        (TrainedModel({"loss": math.inf}, FILES), "returned the metric 'loss' as inf, not as a finite number"),
        (TrainedModel({"good": True}, FILES), "returned the metric 'good' as True, not as a finite number"),
        (TrainedModel({"good": "0.7"}, FILES), "returned the metric 'good' as '0.7', not as a finite number"),
        (TrainedModel({}, FILES), "returned no metrics"),
        (TrainedModel({"val_auc": 0.7}, {}), "returned no files"),
        (TrainedModel({"val_auc": 0.7}, {"w": "text"}), "returned the file 'w' as str, not as bytes"),
        (TrainedModel({"val_auc": 0.7}, {"../w": b""}), "the file '../w' which is not a path below a folder"),
        (TrainedModel({"val_auc": 0.7}, {"/w": b""}), "the file '/w' which is not a path below a folder"),
        (TrainedModel({"val_auc": 0.7}, {"w/a/b": b"", "w": b""}), "the file 'w/a/b' below another file"),
        (TrainedModel({"val_auc": 0.7}, {"report.md/a": b""}), "the file 'report.md/a' below another file"),
        (TrainedModel({"val_auc": 0.7}, {"": b""}), "the file '' which is not a path below a folder"),
        (TrainedModel({"val_auc": 0.7}, {"w/": b""}), "the file 'w/' which is not a path below a folder"),
        (TrainedModel({"val_auc": 0.7}, {"recipe.json": b""}), "'recipe.json' which Millrace writes itself"),
    ],
)
def test_another_result_is_refused_by_one_line(result: object, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        check_trained(result, "m:train")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
