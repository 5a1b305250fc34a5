"""The shipped join of flights and weather equals a brute-force join in Python, with ties and gaps."""

import bisect
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv

from local_stack.flights import place_flights, place_weather
from millrace.training.prepare import HashSplits
from tests.unit.training.prepare.rows.preparing import made_rows, preparation

DELAY = timedelta(hours=2)
SAMPLED = 10_000
QUERY = """
    SELECT f.time_hour, f.carrier, f.flight, f.origin, f.dest, f.month, f.hour, f.distance,
           make_date(f.year, f.month, f.day) AS day, w.temp, w.wind_speed, w.visib, w.time_hour AS weather_known_at
    FROM flights f ASOF LEFT JOIN weather w ON f.origin = w.origin AND w.time_hour <= f.time_hour - INTERVAL 2 HOUR
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    folder = tmp_path_factory.mktemp("flights")
    options = csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    return {
        "flights": csv.read_csv(place_flights(folder), convert_options=options),
        "weather": csv.read_csv(place_weather(folder), convert_options=options),
    }


def test_the_join_equals_a_brute_force_join_of_sampled_rows(tmp_path: Path, inputs: dict[str, pa.Table]) -> None:
    entry = preparation(
        QUERY,
        inputs={"flights": "flights", "weather": "weather"},
        key=("time_hour", "carrier", "flight"),
        at="time_hour - INTERVAL 2 HOUR",
        target="arr_delay > 15",
        after=("dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"),
        known={"weather": "weather_known_at"},
        nulls={"temp": "mean", "wind_speed": "mean", "visib": "mean"},
        splits=HashSplits({"train": 0.7, "val": 0.15, "test": 0.15}, ("day",)),
        features=("month", "hour", "distance", "temp", "wind_speed", "visib"),
        categories=("origin", "dest"),
    )
    with made_rows(tmp_path, entry, inputs) as rows:
        table = pa.Table.from_batches([batch for _, batch in rows.batches(batch_rows=65_536)])
        assert rows.rows_in == len(inputs["flights"])
        assert rows.dropped["no target"] == inputs["flights"]["arr_delay"].null_count
        assert table.num_rows == rows.rows_in - rows.dropped["no target"]
    chosen = sorted(random.Random(6).sample(range(table.num_rows), SAMPLED))
    check_rows(table.take(chosen).to_pylist(), inputs, rows.categories["origin"])


def check_rows(rows: list[dict[str, Any]], inputs: dict[str, pa.Table], origins: tuple[str, ...]) -> None:
    stations = weather_by_origin(inputs["weather"])
    labels = delays(inputs["flights"])
    gaps = ties = 0
    for row in rows:
        joined = latest(stations[origins[row["origin"] - 1]], row["time_hour"] - DELAY)
        expected = joined or {"temp": None, "wind_speed": None, "visib": None}
        assert {name: row[name] for name in ("temp", "wind_speed", "visib")} == {
            name: expected[name] for name in ("temp", "wind_speed", "visib")
        }
        assert row["target"] == (labels[int(row["time_hour"].timestamp()), row["carrier"], row["flight"]] > 15)
        gaps += joined is None or joined["time_hour"] < row["time_hour"] - DELAY
        ties += joined is not None and joined["time_hour"] == row["time_hour"] - DELAY
    assert gaps > 0
    assert ties > 0


def delays(flights: pa.Table) -> dict[tuple[int, str, int], float]:
    """Return the delay of each flight by its key; the times are whole seconds, because these are faster to make."""
    seconds = flights["time_hour"].cast(pa.timestamp("s", "UTC")).cast(pa.int64())
    columns = [seconds, *(flights[name] for name in ("carrier", "flight", "arr_delay"))]
    *key, delay = (column.to_pylist() for column in columns)
    return dict(zip(zip(*key, strict=True), delay, strict=True))


def weather_by_origin(weather: pa.Table) -> dict[str, list[dict[str, Any]]]:
    stations: dict[str, list[dict[str, Any]]] = {}
    for row in weather.select(["origin", "time_hour", "temp", "wind_speed", "visib"]).to_pylist():
        stations.setdefault(row["origin"], []).append(row)
    for rows in stations.values():
        rows.sort(key=lambda row: row["time_hour"])
    return stations


def latest(rows: list[dict[str, Any]], moment: datetime) -> dict[str, Any] | None:
    """Return the last row at or before the moment."""
    place = bisect.bisect_right(rows, moment, key=lambda row: row["time_hour"])
    return rows[place - 1] if place else None
