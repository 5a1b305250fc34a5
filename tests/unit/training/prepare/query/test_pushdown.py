"""Filters that are taken from a query: the expected ones, and the same result with them as without."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from millrace.dataset.filters.parser import parse_filter
from millrace.training.prepare.query import CheckedQuery, InputNeed
from tests.unit.training.prepare.query.declared import FLIGHTS, WEATHER, checked

JOIN = "select f.flight, w.temp from flights f join weather w on w.origin = f.origin where "
FILTERS = [
    (JOIN + "w.station = 3", '"station" = 3'),
    (JOIN + "3 < w.station and f.month = 1", '"station" > 3'),
    (JOIN + "w.station between -1 and 2", '"station" >= -1 and "station" <= 2'),
    (JOIN + "w.origin in ('JFK', 'it''s')", "\"origin\" in ('JFK', 'it''s')"),
    (JOIN + "station != 2 and temp is not null", '"station" != 2 and "temp" is not null'),
    (JOIN + "w.rain = true and w.temp is null", '"rain" = true and "temp" is null'),
    (JOIN + "w.day >= date '2013-01-03'", "\"day\" >= date '2013-01-03'"),
    (JOIN + "w.day < '2013-01-03'", "\"day\" < date '2013-01-03'"),
    (JOIN + "w.local <= timestamp '2013-01-03 04:00:00'", "\"local\" <= timestamp '2013-01-03 04:00:00'"),
    (JOIN + "w.time_hour > '2013-01-03 04:00:00.5'", "\"time_hour\" > timestamp '2013-01-03 04:00:00.5'"),
    (JOIN + "w.time_hour > date '2013-01-03'", "\"time_hour\" > timestamp '2013-01-03'"),
    ("select flight, (select max(temp) from weather where station = 1) from flights", '"station" = 1'),
    ("with a as (select temp from weather where station < 3) select * from a x, a y", '"station" < 3'),
    ("select temp from weather w left join flights f on w.origin = f.origin where w.station = 1", '"station" = 1'),
]
UNSAFE = [
    JOIN + "w.station = 3 or w.station = 4",
    JOIN + "not w.station = 3",
    JOIN + "w.temp > 3",  # NaN is the largest number of SQL, and no number of a filter
    JOIN + "w.temp = 0.1",
    JOIN + "month = 1",  # both inputs have it
    JOIN + "w.station = '3'",
    JOIN + "w.station = 3.5",
    JOIN + "w.station = null",
    JOIN + "w.station + 1 = 3",
    JOIN + "w.station in (1, null)",
    JOIN + "w.station not in (1, 2)",
    JOIN + "w.rain",
    JOIN + "w.station = f.flight",
    JOIN + "w.time_hour > '2013-01-03 04:00:00+02'",
    JOIN + "w.time_hour > timestamptz '2013-01-03 04:00:00'",
    JOIN + "w.day > timestamp '2013-01-03 04:00:00'",
    JOIN + "w.local > timestamp '2013-01-03T04:00'",
    JOIN + "w.station = 99999999999",
    "select f.flight, w.temp from flights f left join weather w on w.origin = f.origin where w.temp is null",
    "select f.flight, w.temp from flights f left join weather w on w.origin = f.origin where w.station = 1",
    "select f.flight, w.temp from weather w right join flights f on w.origin = f.origin where w.temp is null",
    "select f.flight, w.temp from flights f full join weather w on w.origin = f.origin where w.station is null",
    "select f.flight, w.temp from flights f asof left join weather w on w.origin = f.origin "
    "and w.time_hour <= f.time_hour where w.station = 1",
    "select f.flight, w.temp from flights f asof join weather w on w.origin = f.origin "
    "and w.time_hour <= f.time_hour where w.station = 1",
    "select a.temp from weather a, weather b where a.station = 1 and a.time_hour = b.time_hour",
    "select temp, station + 1 as station from weather where station = 1",
    "select w.b from weather as w(a, b, c, d, e, station) where station = 1",
    "select temp from weather where (select count(*) from flights) > 0 or station = 1",
    "select temp, max(station) as m from weather group by all having m = 1",
    "select temp from flights f semi join weather w on f.origin = w.origin, (select 1.0 as temp) where f.month = 1",
]


@pytest.mark.parametrize(("query", "filter"), FILTERS)
def test_a_simple_condition_becomes_a_filter(query: str, filter: str) -> None:
    need = checked(query).needs["weather"]
    assert need.filter == filter
    parse_filter(filter, WEATHER)


@pytest.mark.parametrize("query", UNSAFE)
def test_a_condition_of_another_meaning_does_not(query: str) -> None:
    assert checked(query).needs["weather"].filter is None


def test_the_main_input_has_no_filter_because_its_key_is_checked_over_all_rows() -> None:
    assert checked("select flight from flights where month = 1").needs["flights"].filter is None


def tables(seed: int) -> dict[str, pa.Table]:
    """Return random rows with nulls, NaN and equal values."""
    random = np.random.default_rng(seed)

    def column(values: list[object], rows: int) -> list[object]:
        return [values[index] for index in random.integers(len(values), size=rows)]

    start = datetime(2013, 1, 1, tzinfo=UTC)
    hours = [start + timedelta(hours=int(hour)) for hour in range(0, 96, 7)]
    sides: dict[str, list[object]] = {
        "time_hour": [*hours, None],
        "local": [*(hour.replace(tzinfo=None) for hour in hours), None],
        "day": [date(2013, 1, day) for day in range(1, 5)] + [None],  # type: ignore[list-item]
        "origin": ["JFK", "LGA", "it's", "", None],
        "carrier": ["UA", "B6"],
        "flight": list(range(20)),
        "station": [-1, 0, 1, 2, 3, None],
        "month": [1, 2, None],
        "rain": [True, False, None],
    }
    numbers: list[object] = [0.0, -0.0, 0.1, 3.5, float("nan"), None]
    return {
        alias: pa.table({name: column(sides.get(name, numbers), rows) for name in schema.names}, schema=schema)
        for alias, schema, rows in (("flights", FLIGHTS, 40), ("weather", WEATHER, 60))
    }


@pytest.fixture(scope="module")
def connection() -> Iterator[Any]:
    opened = duckdb.connect()
    opened.execute("SET threads = 1; SET TimeZone = 'UTC'").fetchall()
    yield opened
    opened.close()


def outcome(connection: Any, query: CheckedQuery, inputs: dict[str, pa.Table]) -> list[str]:
    """Return the rows, or the kind of the error that DuckDB raises for the query."""
    for alias, table in inputs.items():
        seen = [name for name in table.column_names if name not in ("dep_delay", "arr_delay")]
        connection.register(alias, table.select(seen))
    try:
        return sorted(map(repr, connection.execute(query.sql).fetchall()))
    except duckdb.Error as error:
        return [type(error).__name__]


def needed(need: InputNeed, table: pa.Table) -> pa.Table:
    if need.filter is not None:
        table = table.filter(parse_filter(need.filter, table.schema))
    return table.select(list(need.columns))


MORE = [
    "select * from flights join weather using (origin) where station = 1",
    "select f.* exclude (distance), w.rain from flights f join weather w on f.month = w.month where w.origin > 'J'",
    "select flight, temp from flights natural join weather where day > '2013-01-01'",
    "select #1, #2 from weather where station <= 1",
    "select columns('[ot].*') from weather where local < '2013-01-02 00:00:00'",
    "select c from weather as w(a, b, c) where c is not null",
    "select w from weather w where w.station in (0, 1)",
    "select distinct month from weather where rain = false union all select flight from flights",
    "select f.flight, x.temp from flights f, lateral (select temp from weather w where w.month = f.month "
    "and w.station >= 1) x",
    "select flight from flights f where exists (select 1 from weather w where w.origin = f.origin and w.station = 2)",
    "select flight from flights f anti join weather w on w.origin = f.origin and w.station = 2",
    "from weather unpivot (v for n in (month, station)) where origin = ''",
    "select temp, row_number() over (order by time_hour, temp, station, local, day, rain, month, origin) as n "
    "from weather where station > 0 qualify n < 10",
    "with a as (select * from weather where origin <> 'JFK') select a.day, f.flight from a left join flights f "
    "on a.origin = f.origin",
]


@pytest.mark.parametrize("query", [*(query for query, _ in FILTERS), *UNSAFE, *MORE])
def test_the_result_over_the_needed_rows_is_that_over_all(query: str, connection: Any) -> None:
    whole = checked(query)
    for seed in range(3):
        inputs = tables(seed)
        part = {alias: needed(whole.needs[alias], table) for alias, table in inputs.items()}
        expected = outcome(connection, whole, inputs)
        assert outcome(connection, whole, part) == expected


def test_most_of_the_compared_results_are_rows(connection: Any) -> None:
    results = [outcome(connection, checked(query), tables(0)) for query in [*(query for query, _ in FILTERS), *MORE]]
    assert sum(len(rows) > 3 for rows in results) >= len(results) * 0.8
    assert not any(rows[:1] == ["BinderException"] for rows in results)
