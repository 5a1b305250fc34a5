"""The query of the shipped entry ``late_arrivals``: it joins no row of the future, and equals joins in plain Python."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from local_stack.flights import FLIGHTS_ROWS, place_flights, place_weather
from local_stack.settings import CHECKOUT
from millrace.declarations import read_training

PREPARATION = read_training(CHECKOUT / "conf" / "training.yaml").entries["late_arrivals"].preparation("late_arrivals")
KEY = ", ".join(PREPARATION.key)
SAMPLED_ROWS = 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flights")
    place_flights(folder)
    place_weather(folder)
    return folder


@pytest.fixture(scope="module")
def database(folder: Path) -> Iterator[Any]:
    """Return a connection with the table ``result``; ``flights`` has no column of ``after`` while the query runs."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
        for name in ("past", "weather"):
            file = folder / PREPARATION.inputs[name]
            connection.execute(f"CREATE TABLE {name} AS FROM read_csv('{file}.csv', nullstr = 'NA')")
        hidden = ", ".join(PREPARATION.after)
        connection.execute(f"CREATE VIEW flights AS SELECT * EXCLUDE ({hidden}) FROM past")
        connection.execute(f"CREATE TABLE result AS {PREPARATION.query}")
        yield connection


def test_each_flight_has_one_row(database: Any) -> None:
    counts = f"count(*), count(DISTINCT ({KEY}))"
    assert database.execute(f"SELECT {counts} FROM result").fetchone() == (FLIGHTS_ROWS, FLIGHTS_ROWS)


@pytest.mark.parametrize(("column", "without"), [("weather_known_at", 0), ("past_known_at", 165)])
def test_no_joined_row_was_known_later_than_the_moment_of_prediction(database: Any, column: str, without: int) -> None:
    assert column in PREPARATION.known.values()
    later = f"count(*) FILTER ({column} > {PREPARATION.at}), count(*) FILTER ({column} IS NULL)"
    assert database.execute(f"SELECT {later} FROM result").fetchone() == (0, without)


def test_numbers_share_one_type_and_columns_with_nulls_have_a_rule(database: Any) -> None:
    types = {name: kind for name, kind, *_ in database.execute("DESCRIBE result").fetchall()}
    features = set(types) - {*PREPARATION.key, *PREPARATION.categories, *PREPARATION.known.values(), "day"}
    assert {types[name] for name in features} == {"FLOAT"}
    with_nulls = {name for name in features if database.execute(f"FROM result WHERE {name} IS NULL LIMIT 1").fetchall()}
    assert with_nulls <= set(PREPARATION.nulls) <= features


def test_the_joins_equal_those_in_plain_python(database: Any, folder: Path) -> None:
    columns = "temp, visib, weather_known_at, past_delay, past_known_at"
    sampled = f"SELECT origin, time_hour, {columns} FROM result ORDER BY md5(concat({KEY})) LIMIT {SAMPLED_ROWS}"
    weather, delays = weather_of(folder), delays_of(folder)
    for origin, hour, *joined in database.execute(sampled).fetchall():
        moment = hour - timedelta(hours=2)
        seen = max(time for time in weather[origin] if time <= moment)
        known = max((time for time in delays[origin] if time <= moment), default=None)
        temp, visib = weather[origin][seen]
        past = delays[origin].get(known)
        assert joined == [
            pytest.approx(temp, rel=1e-6),
            pytest.approx(visib),
            seen,
            past and pytest.approx(sum(past) / len(past), rel=1e-5, abs=1e-5),
            known,
        ]


def weather_of(folder: Path) -> dict[str, dict[datetime, tuple[float | None, float]]]:
    """Return temperature and visibility by airport and time."""
    values: dict[str, dict[datetime, tuple[float | None, float]]] = defaultdict(dict)
    with (folder / "weather.csv").open() as file:
        for row in csv.DictReader(file):
            temp = None if row["temp"] == "NA" else float(row["temp"])
            values[row["origin"]][datetime.fromisoformat(row["time_hour"])] = temp, float(row["visib"])
    return values


def delays_of(folder: Path) -> dict[str, dict[datetime | None, list[float]]]:
    """Return the capped delays of each hour by airport and by the time at which all of them are known."""
    values: dict[str, dict[datetime | None, list[float]]] = defaultdict(lambda: defaultdict(list))
    with (folder / "flights.csv").open() as file:
        for row in csv.DictReader(file):
            delay = 60.0 if row["dep_delay"] == "NA" else min(float(row["dep_delay"]), 60.0)
            values[row["origin"]][datetime.fromisoformat(row["time_hour"]) + timedelta(hours=2)].append(delay)
    return values
