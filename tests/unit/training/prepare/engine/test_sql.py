"""Names and values as SQL: DuckDB reads back the same."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from millrace.training.prepare.engine import literal, quoted


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, 0, -1, 2**62, 0.1, -0.0, 1e300, math.inf, -math.inf, 1e-320, "", "it's", "a\0b", "\0", "--",
        "ü\n", Decimal("1.50"), Decimal("-0.01"), date(2013, 1, 31), datetime(2013, 1, 31, 5, 0, 0, 7),
        time(5, 6, 7, 8), b"", b"\x00'\xff",
    ],
)  # fmt: skip
def test_a_literal_is_the_same_value(value: Any) -> None:
    [(found,)] = duckdb.connect().execute(f"select {literal(value)}").fetchall()
    assert found == value
    assert isinstance(found, type(value)) or value is None


def test_a_literal_of_a_number_can_follow_a_minus() -> None:
    assert duckdb.connect().execute(f"select 1 -{literal(-1)}").fetchall() == [(2,)]


def test_nan_stays_nan() -> None:
    assert math.isnan(duckdb.connect().execute(f"select {literal(math.nan)}").fetchall()[0][0])


def test_a_moment_is_written_in_utc() -> None:
    moment = datetime(2013, 1, 31, 5, tzinfo=timezone(timedelta(hours=2)))
    assert literal(moment) == "TIMESTAMPTZ '2013-01-31 03:00:00+00:00'"
    [(found,)] = duckdb.connect().execute(f"select epoch({literal(moment)})").fetchall()
    assert datetime.fromtimestamp(found, UTC) == moment


@pytest.mark.parametrize("value", [object(), [1], Decimal("nan")])
def test_another_value_has_no_literal(value: object) -> None:
    with pytest.raises(TypeError, match="no literal"):
        literal(value)


def test_a_name_in_quotes_is_one_name() -> None:
    assert quoted('a"b') == '"a""b"'
    assert duckdb.connect().execute(f"select 1 as {quoted('x; --')}").description[0][0] == "x; --"
