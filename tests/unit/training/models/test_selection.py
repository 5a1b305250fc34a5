"""The name of the dataset of a model, and the comparison with the best one."""

from __future__ import annotations

import pytest

from millrace.errors import InvalidNameError
from millrace.training.models import Improvement, compare, model_dataset


def test_a_model_is_named_after_its_data() -> None:
    assert model_dataset("late_arrivals") == "late_arrivals_model"
    assert len(model_dataset("a" * 42)) == 48


def test_a_name_too_long_for_its_model_is_refused() -> None:
    with pytest.raises(InvalidNameError, match=r"has 43 characters, and its model .* use a name of at most 42"):
        model_dataset("a" * 43)


@pytest.mark.parametrize(
    ("metrics", "best", "expected"),
    [
        ({"val_auc": 0.7}, None, Improvement(True, "val_auc")),
        ({"val_auc": 0.7}, {"val_auc": 0.6}, Improvement(True, "val_auc")),
        ({"val_auc": 0.7}, {"val_auc": 0.7}, Improvement(False, "val_auc")),
        ({"val_auc": 0.7}, {"val_auc": 0.8}, Improvement(False, "val_auc")),
        ({"val_auc": 0.7, "val_score": 9.0}, {"val_auc": 0.8, "val_score": 1.0}, Improvement(False, "val_auc")),
        ({"val_score": 2.0}, {"val_score": 1.0}, Improvement(True, "val_score")),
    ],
)
def test_a_model_is_the_best_one_only_if_it_is_better(
    metrics: dict[str, float], best: dict[str, float] | None, expected: Improvement
) -> None:
    assert compare(metrics, best, "m@1-aaaaaa") == expected


def test_a_model_without_a_score_is_never_the_best_one() -> None:
    result = compare({"loss": 0.1}, None)
    assert not result.is_better
    assert result.warning == "the metrics have no val_auc or val_score, so the tag best was not moved"


def test_a_best_model_with_another_score_stays_with_a_warning() -> None:
    result = compare({"val_auc": 0.9}, {"val_score": 1.0}, "m@1-aaaaaa")
    assert not result.is_better
    assert result.warning.startswith("m@1-aaaaaa has no val_auc to compare with, so the tag best stays there")
