"""Versions of training data with matrices, splits and a recipe, published by the public pieces of a load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from millrace.api import Store
from millrace.api.store_dataset import Dataset
from millrace.chunks import ChunkSettings, RowGrouper, TileLayout, prepared_layout
from millrace.dataset import Recipe, with_splits
from millrace.load import LoadPlan

FLOATS, DOUBLES, CATEGORIES, FLAGS = ("temp", "wind", "visib"), ("lat", "lon"), ("carrier", "origin"), ("wet", "late")
FEATURES = (*FLOATS, *DOUBLES, *CATEGORIES, "distance", *FLAGS)
VALUES = {"carrier": tuple(f"c{number}" for number in range(9)), "origin": ("EWR", "JFK", "LGA")}


def training_rows(rows: int, seed: int = 0) -> pa.Table:
    """Return the rows of a version of training data, with nulls in ``temp``, ``visib`` and the categories."""
    rng = np.random.default_rng(seed)

    def some_null(values: Any, kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind, mask=rng.random(rows) < 0.1)

    columns: dict[str, Any] = {
        "id": pa.array(np.arange(rows)),
        "day": pa.array([f"day {number % 30}" for number in range(rows)]),
        "target": pa.array(rng.random(rows) < 0.3),
        "temp": some_null(rng.normal(50, 20, rows), pa.float32()),
        "wind": pa.array(rng.normal(10, 5, rows), pa.float32()),
        "visib": some_null(rng.normal(9, 1, rows), pa.float32()),
        "lat": pa.array(rng.normal(40, 1, rows)),
        "lon": pa.array(np.full(rows, -74.0)),
        "carrier": some_null(rng.integers(0, 10, rows), pa.uint16()),
        "origin": some_null(rng.integers(0, 4, rows), pa.uint16()),
        "distance": pa.array(rng.integers(0, 5000, rows), pa.int32()),
        "wet": pa.array(rng.random(rows) < 0.2),
        "late": pa.array(rng.random(rows) < 0.5),
        "curve": pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=3 * rows), pa.float32()), 3),
    }
    return pa.table(columns)


def recipe_for(table: pa.Table, **fields: Any) -> Recipe:
    """Return the recipe of these rows."""
    given: dict[str, Any] = {
        "algorithm": 1,
        "duckdb": "1.0.0",
        "entry": {"name": "late"},
        "inputs": {"flights": "flights@12-3fa9c1"},
        "seed": 7,
        "key": ("id",),
        "features": FEATURES,
        "shapes": {"curve": (3,)},
        "categories": VALUES,
        "classes": (False, True),
        "nulls": {"temp": {"rule": "mean", "value": 50.5}, "wind": {"rule": "drop"}},
        "splits": {},
        "statistics": {name: figures(table[name]) for name in FEATURES if name not in CATEGORIES},
    }
    return Recipe(**{**given, **fields})


def figures(column: pa.ChunkedArray) -> dict[str, Any]:
    """Return the mean and the standard deviation of a column."""
    numbers = column.cast(pa.float64())
    return {"mean": pc.mean(numbers).as_py(), "std": pc.stddev(numbers).as_py(), "nulls": column.null_count}


class Published(NamedTuple):
    """A version, and the rows of each of its splits."""

    dataset: Dataset
    splits: Mapping[str, pa.Table]


def publish_prepared(
    store: Store,
    name: str,
    table: pa.Table,
    folder: Path,
    *,
    recipe: Recipe | None = None,
    layout: TileLayout | None = None,
    row_group_bytes: int = 20_000,
) -> Published:
    """Publish a version whose splits ``train``, ``val`` and ``test`` have about 60, 20 and 20 percent of the chunks."""
    settings = ChunkSettings(row_group_bytes=row_group_bytes)
    grouper = RowGrouper(settings)
    batch = table.combine_chunks().to_batches()[0]
    rows = [group.num_rows for group in (*grouper.feed(batch), *grouper.finish())]
    edges = [0, *(round(share * len(rows)) for share in (0.6, 0.8, 1))]
    splits = {each: range(*edges[at : at + 2]) for at, each in enumerate(("train", "val", "test"))}
    schema = with_splits(table.schema, splits)
    schema = schema if recipe is None else recipe.with_recipe(schema)
    path = folder / f"{name}.arrow"
    with pa.ipc.new_file(path, schema) as file:
        file.write_table(table.replace_schema_metadata(schema.metadata))
    plan = store.plan(name, str(path), one_stream=True)
    plan = replace(plan, layout=layout or prepared_layout(schema, FEATURES), chunks=settings)
    plan = LoadPlan.from_json(json.loads(json.dumps(plan.to_json())))
    store.publish(plan, [store.load_split(plan, split.index) for split in plan.source.splits])
    starts = np.cumsum([0, *rows]).tolist()
    return Published(
        store.dataset(name),
        {each: table.slice(starts[of.start], starts[of.stop] - starts[of.start]) for each, of in splits.items()},
    )
