"""A training dataset of trips and weather for tests of DAGs, and the training function of its entry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from millrace.api import Store

CITIES = ("Aachen", "Bern", "Cork")
START = datetime(2026, 3, 1, tzinfo=UTC)
MODULE = "function_of_late_trips"
FUNCTION = """
import os
import signal

import numpy as np

from millrace.training import TrainedModel


def train(job):
    '''Return the means of both classes; the process of the first attempt may be killed before it is done.'''
    sums = {True: np.zeros(2), False: np.zeros(2)}
    with job.loader("train", global_batch_rows=512, columns=["distance", "temp", "target"]) as loader:
        job.progress.follow(loader, epochs=1)
        for batch in loader:
            for late in sums:
                chosen = batch["target"] == late
                sums[late] += [batch["distance"][chosen].sum(), np.nansum(batch["temp"][chosen])]
            job.progress.report(loss=float(np.abs(sums[True] - sums[False]).mean()))
    if KILLED and first_attempt():
        os.kill(os.getpid(), signal.SIGKILL)
    weights = np.concatenate([sums[True], sums[False]]).astype("<f8").tobytes()
    return TrainedModel({"val_auc": 0.5 + len(weights) / 1000}, {"weights.bin": weights})


def first_attempt():
    from airflow.sdk import get_current_context

    return get_current_context()["ti"].try_number == 1
"""


def write_function(folder: Path, *, is_killed: bool = False) -> None:
    """Write the module of the training function beside the training file."""
    (folder / f"{MODULE}.py").write_text(f"KILLED = {is_killed}\n{FUNCTION}")


def entry_of(trips: str, weather: str, **fields: Any) -> dict[str, Any]:
    """Return the fields of an entry that joins the weather which was known an hour before the start of a trip."""
    return {
        "inputs": {"trips": trips, "weather": weather},
        "query": "SELECT t.id, t.city, t.distance::FLOAT AS distance, w.temp::FLOAT AS temp, w.hour AS known_at "
        "FROM trips t ASOF LEFT JOIN weather w ON t.city = w.city AND w.hour <= t.start - INTERVAL 1 HOUR",
        "key": ["id"],
        "at": "start - INTERVAL 1 HOUR",
        "target": "delay > 15",
        "after": ["delay"],
        "known": {"weather": "known_at"},
        "categories": ["city"],
        "nulls": {"temp": "mean"},
        "splits": {"train": 0.6, "val": 0.2, "test": 0.2},
        "train": f"{MODULE}:train",
        **fields,
    }


def trips(rows: int, *, first: int = 0, cities: tuple[str, ...] = CITIES) -> pa.Table:
    """Return trips whose columns follow from their numbers."""
    numbers = range(first, first + rows)
    return pa.table(
        {
            "id": pa.array(numbers, pa.int64()),
            "city": [cities[number % len(cities)] for number in numbers],
            "start": pa.array([START + timedelta(minutes=number) for number in numbers], pa.timestamp("us", "UTC")),
            "distance": pa.array([float(number * 37 % 101) for number in numbers], pa.float64()),
            "delay": pa.array([number * 13 % 40 for number in numbers], pa.int64()),
        }
    )


def weather(hours: int) -> pa.Table:
    """Return the temperature of each city and hour; some are missing."""
    pairs = [(city, hour) for hour in range(hours) for city in range(len(CITIES))]
    return pa.table(
        {
            "city": [CITIES[city] for city, _ in pairs],
            "hour": pa.array([START + timedelta(hours=hour) for _, hour in pairs], pa.timestamp("us", "UTC")),
            "temp": pa.array([None if hour % 7 == 3 else float(hour + city) for city, hour in pairs], pa.float64()),
        }
    )


def put(path: Path, table: pa.Table) -> None:
    """Write a Parquet file, which appears as a whole."""
    partial = path.with_name(f".{path.name}.partial")
    pyarrow.parquet.write_table(table, partial)
    partial.replace(path)


def splits_of(store: Store, reference: str) -> dict[int, str]:
    """Return the split of each key."""
    dataset = store.dataset(reference)
    recipe = dataset.recipe
    assert recipe is not None
    return {
        key: split for split in recipe.splits for key in dataset.to_table(columns=["id"], split=split)["id"].to_pylist()
    }


def categories_of(store: Store, reference: str) -> dict[str, tuple[Any, ...]]:
    """Return the values of each category in the order of their codes."""
    recipe = store.dataset(reference).recipe
    assert recipe is not None
    return {name: tuple(values) for name, values in recipe.categories.items()}


def stored_of(store: Store, reference: str) -> list[tuple[Any, ...]]:
    """Return the rows and the checksums of each chunk of a version, in order."""
    return [(ref.rows, *(tile.stored_checksum for tile in ref.tiles)) for ref in store.dataset(reference).refs()]
