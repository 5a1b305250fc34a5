"""The name of the dataset of a model, and whether a model is the best one so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from millrace.errors import InvalidNameError
from millrace.names import check_dataset_name

MODEL_ENDING: Final = "_model"
NAME_MAX: Final = 48 - len(MODEL_ENDING)
"""Characters of the name of a training dataset that has a model."""
BEST_TAG: Final = "best"
_SCORES: Final = ("val_auc", "val_score")


def model_dataset(name: str) -> str:
    """Return ``NAME_model``; raise ``InvalidNameError`` if the name is too long to have a model."""
    check_dataset_name(name)
    if len(name) > NAME_MAX:
        raise InvalidNameError(
            f"the dataset name {name!r} has {len(name)} characters, and its model is stored as a dataset whose name is "
            f"{len(MODEL_ENDING)} characters longer",
            hint=f"use a name of at most {NAME_MAX} characters",
            dataset=name,
        )
    return f"{name}{MODEL_ENDING}"


@dataclass(frozen=True, slots=True)
class Improvement:
    """Whether a model is better than the best one, by which metric, or why that is not known."""

    is_better: bool
    metric: str = ""
    warning: str = ""


def compare(metrics: Mapping[str, float], best: Mapping[str, float] | None, best_reference: str = "") -> Improvement:
    """Compare a model with the best one (None: there is none) by ``val_auc``, or by ``val_score`` without it."""
    metric = next((name for name in _SCORES if name in metrics), "")
    if not metric:
        return Improvement(
            False, warning=f"the metrics have no {' or '.join(_SCORES)}, so the tag {BEST_TAG} was not moved"
        )
    if best is None:
        return Improvement(True, metric)
    if metric not in best:
        return Improvement(
            False,
            metric,
            f"{best_reference} has no {metric} to compare with, so the tag {BEST_TAG} stays there; "
            "millrace tag moves it by hand",
        )
    return Improvement(metrics[metric] > best[metric], metric)
