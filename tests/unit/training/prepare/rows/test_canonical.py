"""The canonical text of keys and its hashes: SQL and Python give the same, whatever the type of the column."""

import functools
import hashlib
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.training.prepare.rows.canonical import (
    canonical_text,
    has_canonical_text,
    order_number,
    order_number_sql,
    split_digits_sql,
    split_number,
    text_sql,
)

TEXTS = st.text(alphabet=st.one_of(st.sampled_from("|\\N\n 'é中😀\0"), st.characters(codec="utf-8")), max_size=8)
MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
DAYS = st.dates(date(1, 1, 1), date(9999, 12, 31))


def integers(kind: pa.DataType) -> st.SearchStrategy[int]:
    signed = pa.types.is_signed_integer(kind)
    bits = kind.bit_width - signed
    return st.integers(-(2**bits) if signed else 0, 2**bits - 1)


def truncated(unit: str) -> st.SearchStrategy[datetime]:
    step = {"s": 10**6, "ms": 1000, "us": 1}[unit]
    return st.one_of(MOMENTS, MOMENTS.map(lambda moment: moment.replace(microsecond=0))).map(
        lambda moment: moment.replace(microsecond=moment.microsecond // step * step)
    )


STRATEGIES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    *((kind, integers(kind)) for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64())),
    *((kind, integers(kind)) for kind in (pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())),
    (pa.bool_(), st.booleans()),
    (pa.string(), TEXTS),
    (pa.date32(), DAYS),
    *((pa.timestamp(unit), truncated(unit)) for unit in ("s", "ms", "us")),
    (pa.timestamp("us", "UTC"), truncated("us").map(lambda moment: moment.replace(tzinfo=UTC))),
    (pa.timestamp("us", "America/New_York"), truncated("us").map(lambda moment: moment.replace(tzinfo=UTC))),
    *(
        (pa.decimal128(precision, scale), st.decimals(-99, 99, places=scale))
        for precision, scale in ((4, 2), (18, 5), (38, 0), (38, 9))
    ),
]


@st.composite
def columns(draw: st.DrawFn) -> list[tuple[pa.DataType, list[Any]]]:
    rows = draw(st.integers(1, 6))
    chosen = draw(st.lists(st.sampled_from(STRATEGIES), min_size=1, max_size=4))
    return [
        (kind, draw(st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows))) for kind, values in chosen
    ]


def from_sql(arrays: list[pa.Array], expression: str) -> list[Any]:
    connection = session("UTC")
    connection.register("rows", pa.table(arrays, names=[f"c{i}" for i in range(len(arrays))]))
    return [value for (value,) in connection.execute(f"SELECT {expression} FROM rows").fetchall()]


@functools.cache
def session(zone: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 1})
    connection.execute(f"SET TimeZone = '{zone}'")
    return connection


@given(columns())
@settings(max_examples=100, deadline=None)
def test_sql_gives_the_text_and_the_hashes_of_python(made: list[tuple[pa.DataType, list[Any]]]) -> None:
    arrays = [pa.array(values, kind) for kind, values in made]
    text = text_sql((f"c{i}", kind) for i, (kind, _) in enumerate(made))
    expected = [canonical_text(row) for row in zip(*(values for _, values in made), strict=True)]
    assert from_sql(arrays, text) == expected
    assert from_sql(arrays, order_number_sql(text, 7)) == [order_number(each, 7) for each in expected]
    digits = from_sql(arrays, split_digits_sql(text, 7))
    assert [int(each[:13], 16) for each in digits] == [split_number(each, 7) for each in expected]


@given(st.lists(st.tuples(TEXTS | st.none(), TEXTS | st.none()), min_size=2, max_size=2, unique=True))
@settings(max_examples=300, deadline=None)
def test_different_values_have_different_texts(pair: list[tuple[str | None, str | None]]) -> None:
    assert canonical_text(pair[0]) != canonical_text(pair[1])


def test_the_hash_of_a_known_key_does_not_change() -> None:
    """Another program computes the same from the description; stored splits depend on it."""
    text = canonical_text([datetime(2013, 1, 1, 10, tzinfo=UTC), "U|A", 1545, None, True, date(2013, 1, 1)])
    assert text == "2013-01-01T10:00:00Z|U\\|A|1545|\\N|true|2013-01-01"
    digest = hashlib.md5(f"{text}|split/3".encode()).hexdigest()
    assert split_number(text, 3) == int(digest[:13], 16)
    assert split_number("1", 0) == 0xF0261FEEF9E1B
    assert order_number("1", 0) == 0xE667C7D3380FFB1F34F8519F3515A87F


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64(), pa.uint16(), pa.uint64(), pa.decimal128(9, 3)])
def test_the_width_of_a_number_does_not_change_its_text(kind: pa.DataType) -> None:
    assert from_sql([pa.array([0, 5, 120], kind)], text_sql([("c0", kind)])) == ["0", "5", "120"]


def test_decimals_have_no_zeros_at_the_end_of_the_fraction() -> None:
    values = [Decimal("1.50"), Decimal("-0.20"), Decimal("0.00"), Decimal("100.00"), Decimal("-3.05")]
    kind = pa.decimal128(9, 2)
    assert from_sql([pa.array(values, kind)], text_sql([("c0", kind)])) == ["1.5", "-0.2", "0", "100", "-3.05"]
    assert list(map(canonical_text, zip(values, strict=True))) == ["1.5", "-0.2", "0", "100", "-3.05"]


def test_a_time_has_the_same_text_in_each_zone_unit_and_session() -> None:
    moment = datetime(2013, 7, 1, 8, 30, tzinfo=timezone(timedelta(hours=-4)))
    expected = canonical_text([moment])
    assert expected == "2013-07-01T12:30:00Z"
    for kind in (pa.timestamp("us", "UTC"), pa.timestamp("us", "Asia/Tokyo"), pa.timestamp("ns", "Asia/Tokyo")):
        assert from_sql([pa.array([moment], kind)], text_sql([("c0", kind)])) == [expected]
    for unit in ("s", "ms", "us", "ns"):
        array = pa.array([datetime(2013, 7, 1, 12, 30)], pa.timestamp(unit))
        assert from_sql([array], text_sql([("c0", array.type)])) == [expected]
    connection = session("Asia/Tokyo")
    for kind in (pa.timestamp("us", "UTC"), pa.timestamp("ns", "UTC")):
        connection.register("rows", pa.table({"c0": pa.array([moment], kind)}))
        sql = text_sql([("c0", kind)])
        assert connection.execute(f"SELECT {sql} FROM rows").fetchall() == [(expected,)]


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_nanoseconds_have_nine_digits_where_they_are_not_zero(numbers: list[int]) -> None:
    rounded = [
        *numbers,
        *(number // 1000 * 1000 for number in numbers),
        *(number // 10**9 * 10**9 for number in numbers),
    ]
    array = pa.array(np.array(rounded, np.int64)).cast(pa.timestamp("ns"))
    expected = [canonical_text([np.datetime64(number, "ns")]) for number in rounded]
    for kind in (pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.timestamp("ns", "Asia/Tokyo")):
        assert from_sql([array.cast(kind)], text_sql([("c0", kind)])) == expected
    assert all("." not in text for text in expected[-len(numbers) :])


def test_an_enumeration_is_its_text() -> None:
    array = pa.array(["a|b", None, "a|b"]).dictionary_encode()
    assert from_sql([array], text_sql([("c0", array.type)])) == ["a\\|b", "\\N", "a\\|b"]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.binary(), pa.time64("us"), pa.list_(pa.int32())])
def test_other_types_have_no_text(kind: pa.DataType) -> None:
    assert not has_canonical_text(kind)
    with pytest.raises(TypeError):
        text_sql([("c0", kind)])


def test_python_values_of_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="float"):
        canonical_text([1.5])
