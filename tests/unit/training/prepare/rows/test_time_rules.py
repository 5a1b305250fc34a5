"""Rules of time: declarations that look into the future are refused, each by a named check."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.errors import UsageError
from millrace.training.prepare import CutSplits, Preparation
from tests.unit.training.prepare.rows.preparing import Prepared, preparation, prepare

START = datetime(2013, 1, 1)
HOURS = 24 * 30


def flights() -> pa.Table:
    return pa.table({
        "id": range(HOURS),
        "hour": pa.array([START + timedelta(hours=i) for i in range(HOURS)], pa.timestamp("us", "UTC")),
        "distance": np.arange(HOURS, dtype=np.float32) % 50,
        "dep_delay": np.arange(HOURS, dtype=np.float32) % 7,
        "delay": np.arange(HOURS, dtype=np.float32) % 11,
    })  # fmt: skip


def weather() -> pa.Table:
    return pa.table({
        "hour": pa.array([START + timedelta(hours=i) for i in range(5, HOURS)], pa.timestamp("us", "UTC")),
        "temp": np.arange(5, HOURS, dtype=np.float64),
    })  # fmt: skip


def entry(condition: str, **fields: Any) -> Preparation:
    query = f"""
        SELECT f.id, f.distance, w.temp, w.hour AS known_at
        FROM flights f ASOF LEFT JOIN weather w ON w.hour <= {condition}
    """
    given = {
        "inputs": {"flights": "flights", "weather": "weather"},
        "target": "delay > 5",
        "after": ("delay", "dep_delay"),
        "at": "hour - INTERVAL 2 HOUR",
        "known": {"weather": "known_at"},
        **fields,
    }
    return preparation(query, **given)


def made(folder: Path, preparation: Preparation) -> Prepared:
    return prepare(folder, preparation, {"flights": flights(), "weather": weather()})


def test_a_join_that_keeps_the_delay_passes_and_its_time_is_not_stored(tmp_path: Path) -> None:
    found = made(tmp_path, entry("f.hour - INTERVAL 2 HOUR"))
    assert found.rows.schema.names == ["id", "target", "distance", "temp"]
    rows = found.table.sort_by("id").to_pylist()
    assert [row["temp"] for row in rows] == [None] * 7 + [float(i) for i in range(5, HOURS - 2)]


def test_a_join_that_ignores_the_delay_is_refused_with_its_first_row(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        made(tmp_path, entry("f.hour - INTERVAL 1 HOUR"))
    message = str(caught.value)
    assert message.startswith("input 'weather' is joined before it is known: 'known_at' is later than at in 714 rows")
    assert "key (6): known at 2013-01-01 05:00:00 UTC, prediction at 2013-01-01 04:00:00 UTC" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("known", "hour"),
    [
        ("w.hour", "hour"),
        ("CAST(w.hour AS TIMESTAMP) AT TIME ZONE 'UTC'", "hour"),
        ("CAST(w.hour AS TIMESTAMP)", "hour AT TIME ZONE 'UTC'"),
        ("CAST(w.hour AS TIMESTAMP_NS)", "CAST(hour AS TIMESTAMP)"),
        ("CAST(w.hour AS TIMESTAMP_S)", "CAST(hour AS TIMESTAMP)"),
    ],
)
def test_times_of_all_types_are_compared(tmp_path: Path, known: str, hour: str) -> None:
    early, late = (
        replace(
            each, query=each.query.replace("w.hour AS known_at", f"{known} AS known_at"), at=f"{hour} - INTERVAL 2 HOUR"
        )
        for each in (entry("f.hour - INTERVAL 2 HOUR"), entry("f.hour - INTERVAL 1 HOUR"))
    )
    assert made(tmp_path, early).rows.rows_in == HOURS
    with pytest.raises(UsageError, match="joined before it is known"):
        made(tmp_path, late)


@pytest.mark.parametrize(
    ("known", "at", "message"),
    [
        ("CAST(w.hour AS TIMESTAMP)", "hour", "at has a time zone and 'known_at' has none"),
        ("CAST(w.hour AS DATE)", "hour", "at has a time zone and 'known_at' has none"),
        ("w.hour", "CAST(hour AS TIMESTAMP)", "'known_at' has a time zone and at has none"),
        ("w.hour", "CAST(hour AS DATE)", "'known_at' has a time zone and at has none"),
    ],
)
def test_a_time_with_a_zone_and_one_without_are_not_compared(tmp_path: Path, known: str, at: str, message: str) -> None:
    declared = entry("f.hour - INTERVAL 2 HOUR", at=at)
    query = declared.query.replace("w.hour AS known_at", f"{known} AS known_at")
    with pytest.raises(UsageError, match=f"{message}, so they cannot be compared: give .* its own zone, as in CAST"):
        made(tmp_path, replace(declared, query=query))


@pytest.mark.parametrize(("at", "is_refused"), [("hour", False), ("CAST(hour AS TIMESTAMP)", True)])
def test_a_time_of_a_split_with_a_zone_needs_one_in_at(tmp_path: Path, at: str, is_refused: bool) -> None:
    splits = CutSplits({"train": "< 2013-01-20T05:00:00+05:00", "test": "rest"})
    declared = preparation("SELECT id, distance FROM flights", **{**time_fields(), "at": at, "splits": splits})
    if is_refused:
        with pytest.raises(UsageError, match="of split 'train' has a time zone and at has none"):
            prepare(tmp_path, declared, {"flights": flights()})
    else:
        assert prepare(tmp_path, declared, {"flights": flights()}).splits["train"].num_rows == 19 * 24


def test_a_nanosecond_too_late_is_too_late(tmp_path: Path) -> None:
    query = "SELECT id, distance, make_timestamp_ns(epoch_ns(hour - INTERVAL 2 HOUR) + {}) AS known_at FROM flights"
    fields: dict[str, Any] = {
        "inputs": {"flights": "flights"},
        "target": "delay > 5",
        "at": "CAST(hour AS TIMESTAMP) - INTERVAL 2 HOUR",
        "known": {"flights": "known_at"},
    }
    made(tmp_path, preparation(query.format(0), **fields, after=("delay",)))
    with pytest.raises(UsageError, match="in 720 rows"):
        made(tmp_path, preparation(query.format(1), **fields, after=("delay",)))


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_inputs_with_nanoseconds_are_compared(tmp_path: Path, zone: str | None) -> None:
    kind = pa.timestamp("ns", zone)

    def in_nanoseconds(table: pa.Table) -> pa.Table:
        times = table["hour"].cast(pa.timestamp("us", zone)).cast(kind)
        return table.set_column(table.schema.get_field_index("hour"), "hour", times)

    inputs = {"flights": in_nanoseconds(flights()), "weather": in_nanoseconds(weather())}
    splits = CutSplits({"train": "< 2013-01-20", "test": "rest"})
    found = prepare(tmp_path, entry("f.hour - INTERVAL 2 HOUR", splits=splits), inputs)
    assert found.splits["train"].num_rows == 19 * 24 + 2
    with pytest.raises(UsageError, match="joined before it is known: 'known_at' is later than at in 714 rows"):
        prepare(tmp_path, entry("f.hour - INTERVAL 1 HOUR"), inputs)


def test_nanoseconds_of_the_moment_of_prediction_are_cut_off(tmp_path: Path) -> None:
    query = "SELECT id, distance, CAST(hour AS TIMESTAMP) + INTERVAL 1 MICROSECOND AS known_at FROM flights"
    fields: dict[str, Any] = {
        "inputs": {"flights": "flights"},
        "target": "delay > 5",
        "at": "make_timestamp_ns(epoch_ns(hour) + 999)",
        "known": {"flights": "known_at"},
    }
    with pytest.raises(UsageError, match="in 720 rows"):
        made(tmp_path, preparation(query, **fields, after=("delay",)))


def test_a_date_is_known_at_its_start(tmp_path: Path) -> None:
    query = "SELECT id, distance, CAST(hour - INTERVAL 2 HOUR AS DATE) AS day FROM flights"
    fields: dict[str, Any] = {
        "inputs": {"flights": "flights"},
        "target": "delay > 5",
        "at": "CAST(hour AS TIMESTAMP) - INTERVAL 2 HOUR",
    }
    assert made(tmp_path, preparation(query, **fields, known={"flights": "day"}, after=())).rows.rows_in == HOURS


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, dep_delay FROM flights",
        "SELECT *, dep_delay AS d FROM flights",
        "SELECT f.id, f.dep_delay AS distance FROM flights f",
        "SELECT id, late FROM (SELECT id, dep_delay AS late FROM flights)",
        "WITH f AS (SELECT id, dep_delay FROM flights) SELECT * FROM f",
        "WITH f AS (SELECT * FROM flights) SELECT id, distance, dep_delay FROM f",
        "SELECT id, distance, (SELECT max(g.dep_delay) FROM flights g WHERE g.id = f.id) AS late FROM flights f",
        "SELECT id, distance + dep_delay AS mix FROM flights",
    ],
)
def test_the_query_cannot_name_a_column_of_after(tmp_path: Path, query: str) -> None:
    with pytest.raises(UsageError, match="dep_delay"):
        prepare(tmp_path, preparation(query, **time_fields()), {"flights": flights()})


def test_a_star_has_no_column_of_after(tmp_path: Path) -> None:
    query = "WITH f AS (SELECT * FROM flights) SELECT * EXCLUDE (hour) FROM (SELECT * FROM f)"
    found = prepare(tmp_path, preparation(query, **time_fields()), {"flights": flights()})
    assert found.rows.schema.names == ["id", "target", "distance"]


def test_the_moment_of_prediction_cannot_use_a_column_of_after(tmp_path: Path) -> None:
    fields = {**time_fields(), "at": "hour + to_minutes(CAST(delay AS BIGINT))"}
    with pytest.raises(UsageError, match="'delay', which is in after"):
        prepare(tmp_path, preparation("SELECT id, distance FROM flights", **fields), {"flights": flights()})


def time_fields() -> dict[str, Any]:
    return {
        "inputs": {"flights": "flights"},
        "target": "delay > 5",
        "after": ("delay", "dep_delay"),
        "at": "hour - INTERVAL 2 HOUR",
    }


def test_past_values_of_a_later_column_come_by_a_second_alias(tmp_path: Path) -> None:
    query = """
        SELECT f.id, f.distance, p.delay AS yesterday, p.hour + INTERVAL 6 HOUR AS known_at
        FROM flights f LEFT JOIN past p ON p.id = f.id - 24
    """
    fields: dict[str, Any] = {"inputs": {"flights": "flights", "past": "flights"}, "known": {"past": "known_at"}}
    found = prepare(
        tmp_path, preparation(query, **{**time_fields(), **fields}), {"flights": flights(), "past": flights()}
    )
    rows = found.table.sort_by("id").to_pylist()
    assert [row["yesterday"] for row in rows[24:]] == [float(i % 11) for i in range(HOURS - 24)]
