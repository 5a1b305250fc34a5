"""The columns that a query needs of each input, and the checks of the other fields of an entry."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from millrace.errors import UsageError
from tests.unit.training.prepare.query.declared import FLIGHTS, SCHEMAS, WEATHER, checked

ALWAYS_READ = {"time_hour", "carrier", "flight", "arr_delay"}
"""The key, and the columns of ``at`` and ``target``."""
VISIBLE = set(FLIGHTS.names) - {"dep_delay", "arr_delay"}


@pytest.mark.parametrize(
    ("query", "flights", "weather"),
    [
        ("select f.month from flights f", {"month"}, None),
        ("select f.month, w.temp from flights f join weather w on f.origin = w.origin", {"month", "origin"},
         {"temp", "origin"}),
        ("select month from flights f join weather w using (origin)", {"month", "origin"}, {"month", "origin"}),
        ("select distance from flights where MONTH = 3", {"distance", "month"}, None),
        ("select * from flights", VISIBLE, None),
        ("select f.* from flights f, weather w where w.rain", VISIBLE, {"rain"}),
        ("select count(*) from flights, weather", set(), None),
        ("select columns('d.*') from flights", VISIBLE, None),
        ("select f from flights f", VISIBLE, None),
        ("select #1 from weather", set(), set(WEATHER.names)),
        ("select a from flights as f(a)", VISIBLE, None),
        ("select 1 from flights natural join weather", VISIBLE, set(WEATHER.names)),
        ("select flight from flights order by distance", {"distance"}, None),
        ("select flight from flights qualify row_number() over (order by distance) = 1", {"distance"}, None),
        ("select (select max(temp) from weather w where w.origin = f.origin) from flights f", {"origin"},
         {"temp", "origin"}),
        ("with a as (select * from weather) select a.temp from a", set(), set(WEATHER.names)),
        ("with a as (select temp as t from weather) select t from a, flights", set(), {"temp"}),
        ("select x.rain from flights f, lateral (select w.rain from weather w where w.month = f.month) x", {"month"},
         {"rain", "month"}),
        ("select carrier.lower(), f.origin.upper() from flights f", {"origin"}, None),
        ("from weather unpivot (v for n in (month, station))", {"month"}, set(WEATHER.names)),
        ("select month from flights union select station from weather", {"month"}, {"month", "station"}),
    ],
)  # fmt: skip
def test_the_needed_columns(query: str, flights: set[str], weather: set[str] | None) -> None:
    needs = checked(query).needs
    assert list(needs) == ["flights", "weather"]
    assert set(needs["flights"].columns) == flights | ALWAYS_READ
    if weather is None:  # a column for the number of rows, at least
        assert len(needs["weather"].columns) >= 1
    else:
        assert set(needs["weather"].columns) == weather
    assert list(needs["flights"].columns) == [name for name in FLIGHTS.names if name in needs["flights"].columns]


def test_an_input_without_a_used_column_has_its_narrowest() -> None:
    assert checked("select flight from flights, weather").needs["weather"].columns == ("rain",)


def test_a_column_known_later_is_read_only_for_the_target() -> None:
    columns = checked("select * from flights", target="arr_delay > 15").needs["flights"].columns
    assert "arr_delay" in columns
    assert "dep_delay" not in columns


@pytest.mark.parametrize(
    ("query", "one_thread"),
    [
        ("select flight, month + 1 from flights where month > 1", False),
        ("select * from flights f join weather w using (origin)", False),
        ("select flight from flights union all select month from weather", False),
        ("select list_sum([month, 1]), upper(carrier) from flights", False),
        ("select * from flights f asof join weather w on f.origin = w.origin and w.time_hour <= f.time_hour", True),
        ("select sum(distance) from flights", True),
        ("select geomean(distance) from flights", True),
        ("select month from flights group by month", True),
        ("select lag(month) over (order by time_hour) from flights", True),
        ("select flight from flights limit 3", True),
        ("select flight from flights offset 3", True),
        ("select distinct on (carrier) flight from flights", True),
        ("select distinct flight from flights", True),
        ("select flight from flights union select month from weather", True),
        ("select (select temp from weather) from flights", True),
        ("select array(select temp from weather) from flights", True),
        ("select * from flights positional join weather", True),
    ],
)
def test_one_thread_is_used_where_the_order_of_rows_may_count(query: str, one_thread: bool) -> None:
    assert checked(query).one_thread is one_thread


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"key": ("time_hour", "carier")},
            r"key of late names 'carier', which is not in flights: did you mean carrier",
        ),
        ({"after": ("arr_dely",)}, r"after of late names 'arr_dely'.*did you mean arr_delay"),
        ({"target": "arr_dely > 15"}, r"target of late uses the column 'arr_dely'.*did you mean arr_delay"),
        ({"at": "time_hours"}, r"at of late uses the column 'time_hours'.*did you mean time_hour"),
        ({"at": "time_hour + to_minutes(dep_delay::int)"}, r"at of late uses 'dep_delay', which is in after"),
        ({"key": ("flight", "arr_delay")}, r"'arr_delay' of late is in key and in after"),
        ({"known": {}}, r"known of late does not say when the rows of input 'weather' are known"),
        ({"known": {"weather": "k", "wether": "k"}}, r"known of late names 'wether'.*did you mean weather"),
        ({"inputs": {"flights": "flights", "millrace_w": "weather"}}, r"'millrace_w' cannot be the alias"),
    ],
)
def test_unknown_names_in_an_entry_are_refused_with_the_nearest(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        checked("select * from flights", {**SCHEMAS, "millrace_w": WEATHER}, **fields)


@pytest.mark.parametrize(
    ("field", "message"),
    [("millrace.order", "'millrace.order' of input 'weather' cannot be used"), ("TEMP", "differ in upper case only")],
)
def test_columns_that_sql_cannot_tell_apart_are_refused(field: str, message: str) -> None:
    wider = WEATHER.append(pa.field(field, pa.int8()))
    with pytest.raises(UsageError, match=message):
        checked("select flights.flight, weather.* from flights, weather", {**SCHEMAS, "weather": wider})
