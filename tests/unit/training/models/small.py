"""A small prepared dataset: its recipe, its rows as the query gives them, and loaders over them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import pyarrow as pa

from millrace.dataset import Recipe
from millrace.training import TrainingFacts

CARRIERS = ("AA", "UA")
SPLITS = ("train", "val", "test")
_SHARES = (0.6, 0.2, 0.2)


def small_recipe(**changes: Any) -> Recipe:
    """Return a recipe of two numbers, one with a rule for nulls, and a category."""
    recipe = Recipe(
        algorithm=1,
        duckdb="1.0.0",
        entry={},
        inputs={"flights": "flights@1-aaaaaa"},
        seed=0,
        key=("flight",),
        features=("hour", "temp", "carrier"),
        categories={"carrier": CARRIERS},
        classes=(False, True),
        nulls={"temp": {"rule": "mean", "value": 10.0}},
        statistics={
            "hour": {"count": 10, "nulls": 0, "mean": 13.0, "std": 5.0, "min": 5, "max": 22},
            "temp": {"count": 9, "nulls": 1, "mean": 10.0, "std": 8.0, "min": -20.0, "max": 40.0},
        },
    )
    return replace(recipe, **changes)


def raw_rows(rows: int, seed: int = 0) -> pa.Table:
    """Return rows whose target depends on all three features; a carrier and some temperatures are unknown."""
    rng = np.random.default_rng(seed)
    hour, temp = rng.integers(5, 23, rows), rng.normal(10, 8, rows).astype(np.float32)
    carrier = rng.choice([*CARRIERS, "XX"], rows, p=[0.5, 0.45, 0.05])
    chance = 1 / (1 + np.exp(-(0.25 * (hour - 14) + 0.15 * (temp - 10) + (carrier == "UA") * 1.5 - 1)))
    return pa.table(
        {
            "hour": pa.array(hour.astype(np.int32)),
            "temp": pa.array(temp, mask=rng.random(rows) < 0.05),
            "carrier": pa.array(carrier),
            "target": pa.array(rng.random(rows) < chance),
        }
    )


class SmallDataset:
    """Rows in memory as ``training`` gives them: matrices by type, and the target."""

    def __init__(self, rows: pa.Table, recipe: Recipe) -> None:
        self.version: Any = SimpleNamespace(reference="late_arrivals@1-abcdef")
        self.schema = pa.schema([("hour", pa.int32()), ("temp", pa.float32()), ("carrier", pa.uint16())])
        codes = {value: code for code, value in enumerate(recipe.categories["carrier"], 1)}
        self.columns = {
            "features": rows["temp"].fill_null(10.0).to_numpy()[:, None],
            "features_int32": rows["hour"].to_numpy()[:, None],
            "features_uint16": np.array([codes.get(v, 0) for v in rows["carrier"].to_pylist()], np.uint16)[:, None],
            "target": rows["target"].to_numpy(),
        }
        ends = np.cumsum([int(share * rows.num_rows) for share in _SHARES])
        self.splits = {
            split: range(end - int(s * rows.num_rows), end) for split, end, s in zip(SPLITS, ends, _SHARES, strict=True)
        }

    def training(self, *, split: str, global_batch_rows: int, seed: int = 0, **options: Any) -> Any:
        return SmallLoader(self, split, global_batch_rows, seed, is_shuffled=options.get("shuffle") != "none")


class SmallLoader:
    """Epoch after epoch of one split, each in an order of its own unless it is not shuffled."""

    def __init__(self, dataset: SmallDataset, split: str, rows: int, seed: int, *, is_shuffled: bool) -> None:
        self._dataset, self._split, self._rows, self._seed = dataset, split, rows, seed
        self._is_shuffled, self._epoch = is_shuffled, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def facts(self) -> TrainingFacts:
        return TrainingFacts("late_arrivals", self._split, epoch=self._epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        rows = np.array(self._dataset.splits[self._split])
        if self._is_shuffled:
            rows = np.random.default_rng([self._seed, self._epoch]).permutation(rows)
        self._epoch += 1
        for first in range(0, len(rows), self._rows):
            chosen = rows[first : first + self._rows]
            yield {name: column[chosen] for name, column in self._dataset.columns.items()}
