"""A small world to prepare: trips that may be late, and the weather at their cities by the hour."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from millrace.training.prepare import HashSplits, Preparation

CITIES = ("Aachen", "Bern", "Cork")
START = datetime(2026, 3, 1, tzinfo=UTC)

QUERY = """
SELECT t.id, t.city, CAST(t.distance AS FLOAT) AS distance, CAST(w.temp AS FLOAT) AS temp,
       w.hour AS weather_known_at
FROM trips t ASOF LEFT JOIN weather w ON t.city = w.city AND w.hour <= t.start - INTERVAL 1 HOUR
"""

LATE_TRIPS = Preparation(
    name="late_trips",
    inputs={"trips": "trips", "weather": "weather"},
    query=QUERY,
    key=("id",),
    at="start - INTERVAL 1 HOUR",
    target="delay > 15",
    after=("delay",),
    known={"weather": "weather_known_at"},
    categories=("city",),
    nulls={"temp": "mean"},
    splits=HashSplits({"train": 0.6, "val": 0.2, "test": 0.2}),
    features=("distance", "temp", "city"),
)


def late_trips(**changes: Any) -> Preparation:
    """Return the preparation with some fields changed."""
    return replace(LATE_TRIPS, **changes)


def trips(rows: int, *, first: int = 0, cities: tuple[str, ...] = CITIES) -> pa.Table:
    """Return trips whose columns follow from their number."""
    ids = np.arange(first, first + rows)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "city": [cities[number % len(cities)] for number in ids],
            "start": [START + timedelta(minutes=int(number)) for number in ids],
            "distance": pa.array((ids * 37 % 101).astype(np.float64)),
            "delay": pa.array([None if number % 50 == 7 else int(number * 13 % 40) for number in ids], pa.int64()),
        }
    )


def weather(hours: int, *, cities: tuple[str, ...] = CITIES) -> pa.Table:
    """Return a temperature for each city and hour; some are missing."""
    rows = [
        {"city": city, "hour": START + timedelta(hours=hour), "temp": None if hour % 7 == 3 else float(hour + place)}
        for hour in range(hours)
        for place, city in enumerate(cities)
    ]
    return pa.Table.from_pylist(
        rows, pa.schema([("city", pa.string()), ("hour", pa.timestamp("us", "UTC")), ("temp", pa.float64())])
    )
