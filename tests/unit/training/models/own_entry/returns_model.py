"""Will an order be returned? A logistic regression in NumPy, and the scores of its stored files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.training import TrainedModel, TrainingJob
from millrace.training.models import pack_arrays, unpack_arrays

EPOCHS = 20
BATCH_ROWS = 64
RATE = 0.1


def train(job: TrainingJob) -> TrainedModel:
    recipe = job.recipe
    assert recipe.class_weights is not None
    class_weights = np.array(recipe.class_weights)
    channels = len(recipe.categories["channel"]) + 1  # code 0 is an unknown channel
    weights = None
    with job.loader("train", global_batch_rows=BATCH_ROWS, normalize="recipe") as loader:
        job.progress.follow(loader, epochs=EPOCHS)
        for _ in range(EPOCHS):
            for batch in loader:
                inputs, target = matrix(batch, channels), batch["target"]
                weights = np.zeros(inputs.shape[1]) if weights is None else weights
                error = (sigmoid(inputs @ weights) - target) * class_weights[target.astype(int)]
                weights -= RATE * inputs.T @ error / len(target)
                job.progress.report(loss=float(np.abs(error).mean()))
    assert weights is not None
    metrics: dict[str, float] = {}
    for split in ("val", "test"):
        options: dict[str, Any] = {"shuffle": "none", "tail": "uneven", "normalize": "recipe"}
        with job.loader(split, global_batch_rows=BATCH_ROWS, **options) as loader:
            parts = [(sigmoid(matrix(batch, channels) @ weights), batch["target"].copy()) for batch in loader]
        scores, target = (np.concatenate(part) for part in zip(*parts, strict=True))
        metrics |= {f"{split}_auc": auc(scores, target), f"{split}_rows": float(len(target))}
    return TrainedModel(metrics, {"weights.npz": pack_arrays({"weights": weights})}, "# Returned orders\n")


def matrix(batch: Mapping[str, Any], channels: int) -> Any:
    """Return the numbers, the indicator of age, the sizes, a column for each channel, and ones."""
    codes = batch["features_uint16"][:, 0]
    parts = [batch["features"], batch["features_int16"], batch["features_bool"], batch["size"], np.eye(channels)[codes]]
    return np.nan_to_num(np.hstack([*parts, np.ones((len(codes), 1))]).astype(np.float64))  # age may be NaN


def score(files: Mapping[str, bytes], rows: pa.Table) -> Any:
    """Return the score of each row; the columns are those of the query."""
    recipe, weights = json.loads(files["recipe.json"]), unpack_arrays(files["weights.npz"])["weights"]
    values = recipe["categories"]["channel"]
    codes = np.array([values.index(value) + 1 if value in values else 0 for value in rows["channel"].to_pylist()])
    columns = {name: normalized(recipe, name, rows[name]) for name in ("items", "weight", "discount", "price", "age")}
    is_null = normalized(recipe, "age_is_null", rows["age"].is_null())
    batch = {
        "features": np.stack(
            [columns[name] for name in recipe["features"] if name in columns and name != "discount"], 1
        ),
        "features_int16": columns["discount"][:, None],
        "features_bool": is_null[:, None],
        "size": np.array(rows["size"].to_pylist()),
        "features_uint16": codes[:, None],
    }
    return sigmoid(matrix(batch, len(values) + 1) @ weights)


def normalized(recipe: Mapping[str, Any], name: str, column: pa.ChunkedArray) -> Any:
    """Replace nulls by the rule of the recipe, and normalize by its figures."""
    figures, value = recipe["statistics"][name], recipe["nulls"].get(name, {}).get("value", float("nan"))
    values = np.array([value if each is None else each for each in column.to_pylist()], np.float64)
    return (values - figures["mean"]) / (figures["std"] or 1.0)


def sigmoid(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


def auc(scores: Any, target: Any) -> float:
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores)] = np.arange(len(scores))
    positive = int(target.sum())
    return float((ranks[target].sum() - positive * (positive - 1) / 2) / (positive * (len(target) - positive)))
