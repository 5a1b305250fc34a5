"""Two types have a common wider type only if that holds every value of both."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from itertools import permutations, product
from typing import Any

import pyarrow as pa
import pytest

from millrace.arrow.widening import widens, wider_inferred_type, wider_type, widest_type
from millrace.chunks import cast_batch

DAY = dt.date(2021, 5, 6)
SAMPLES: list[tuple[pa.DataType, list[Any]]] = [
    (pa.null(), []),
    (pa.bool_(), [True, False]),
    *((getattr(pa, f"int{bits}")(), [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]) for bits in (8, 16, 32, 64)),
    *((getattr(pa, f"uint{bits}")(), [0, 2**bits - 1]) for bits in (8, 16, 32, 64)),
    (pa.float16(), [0.5, -65504.0, 2.0**-24]),
    (pa.float32(), [0.5, 16777217.0 - 1, 3.4028234663852886e38]),
    (pa.float64(), [0.1, 1.7976931348623157e308]),
    (pa.decimal32(5, 2), [Decimal("999.99")]),
    (pa.decimal128(10, 8), [Decimal("-99.99999999")]),
    (pa.decimal128(38, 0), [Decimal(10**38 - 1)]),
    (pa.decimal256(40, 2), [Decimal(10**38 - 1)]),
    (pa.string(), ["café", ""]),
    (pa.string_view(), ["a text that is longer than twelve bytes"]),
    (pa.large_string(), ["b"]),
    (pa.binary(), [b"\xff"]),
    (pa.large_binary(), [b"\xfe"]),
    (pa.binary(2), [b"ab"]),
    (pa.binary(3), [b"abc"]),
    (pa.date32(), [DAY, dt.date(9999, 12, 31)]),
    (pa.date64(), [DAY]),
    (pa.timestamp("s"), [dt.datetime(9999, 12, 31)]),
    (pa.timestamp("ns"), [dt.datetime(2021, 5, 6)]),
    (pa.timestamp("us", "UTC"), [dt.datetime(2021, 5, 6, tzinfo=dt.UTC)]),
    (pa.time32("s"), [dt.time(1, 2, 3)]),
    (pa.time64("ns"), [dt.time(1, 2, 3, 4)]),
    (pa.duration("s"), [dt.timedelta(days=200_000)]),
    (pa.duration("ns"), [dt.timedelta(seconds=1)]),
    (pa.list_(pa.int32()), [[1, None], []]),
    (pa.large_list(pa.int8()), [[-128]]),
    (pa.list_(pa.float64()), [[0.1]]),
    (pa.list_(pa.int8(), 2), [[1, 2]]),
    (pa.list_(pa.int16(), 2), [[3, 4]]),
    (pa.list_(pa.int8(), 3), [[1, 2, 3]]),
    (pa.struct([("a", pa.int8()), ("b", pa.string())]), [{"a": 1, "b": "x"}]),
    (pa.struct([("a", pa.int32()), ("b", pa.large_string())]), [{"a": 70000, "b": "y"}]),
    (pa.struct([("b", pa.string()), ("a", pa.int8())]), [{"b": "x", "a": 1}]),
    (pa.map_(pa.string(), pa.int8()), [[("k", 1)]]),
    (pa.map_(pa.large_string(), pa.int64()), [[("k", 2**60)]]),
]
DICTIONARIES = [
    pa.DictionaryArray.from_arrays(pa.array([0, 1, None], index), pa.array(["a", "b"], values))
    for index, values in product((pa.int8(), pa.int32(), pa.uint16()), (pa.string(), pa.large_string()))
]
ARRAYS = [pa.array([*values, None], kind) for kind, values in SAMPLES] + DICTIONARIES
PAIRS = [(one, other) for one in ARRAYS for other in ARRAYS]


def cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return cast_batch(pa.record_batch([array], ["c"]), pa.schema([("c", kind)])).column(0)


@pytest.mark.parametrize("one", ARRAYS, ids=lambda array: str(array.type))
def test_every_value_is_unchanged_in_the_wider_type(one: pa.Array) -> None:
    for other in ARRAYS:
        wide = wider_type(one.type, other.type, exact=True)
        assert wide == wider_type(other.type, one.type, exact=True), other.type
        if wide is None:
            continue
        assert widens(one.type, wide), other.type
        widened = cast(one, wide)
        widened.validate(full=True)
        assert widened.type.equals(wide)
        assert widened.to_pylist() == one.to_pylist(), other.type


LIST, LARGE = pa.list_, pa.large_list


@pytest.mark.parametrize(
    ("one", "other", "wider"),
    [
        (pa.null(), LIST(pa.string()), LIST(pa.string())),
        (pa.int8(), pa.int64(), pa.int64()),
        (pa.uint8(), pa.int8(), pa.int16()),
        (pa.uint32(), pa.int8(), pa.int64()),
        (pa.uint64(), pa.int8(), None),
        (pa.uint64(), pa.int64(), None),
        (LIST(pa.uint64()), LIST(pa.int64()), None),
        (pa.uint64(), pa.float64(), pa.float64()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.int64(), pa.float32(), None),
        (pa.int16(), pa.float32(), pa.float32()),
        (pa.int32(), pa.float32(), pa.float64()),
        (pa.float16(), pa.float64(), pa.float64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.bool_(), pa.int64(), None),
        (pa.int64(), pa.string(), None),
        (pa.int64(), pa.decimal128(20, 2), None),
        (pa.date32(), pa.timestamp("s"), pa.timestamp("s")),
        (LIST(pa.date32()), LIST(pa.timestamp("ms")), LIST(pa.timestamp("ms"))),
        (pa.date32(), pa.timestamp("us"), None),
        (pa.date32(), pa.timestamp("s", "UTC"), None),
        (pa.date64(), pa.timestamp("s"), None),
        (pa.timestamp("s"), pa.timestamp("ns"), None),
        (pa.timestamp("s"), pa.timestamp("s", "UTC"), None),
        (pa.time32("s"), pa.time64("ns"), None),
        (pa.duration("s"), pa.duration("ns"), None),
        (pa.binary(4), pa.binary(8), None),
        (pa.string(), pa.binary(), None),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.string(), pa.string_view(), pa.string_view()),
        (pa.large_string(), pa.string_view(), pa.large_string()),
        (pa.binary(), pa.large_binary(), pa.large_binary()),
        (pa.decimal128(10, 2), pa.decimal128(12, 0), pa.decimal128(14, 2)),
        (pa.decimal128(38, 0), pa.decimal128(38, 2), pa.decimal256(40, 2)),
        (pa.decimal256(76, 0), pa.decimal128(38, 2), None),
        (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.string()), "dictionary of int32"),
        (pa.dictionary(pa.int8(), pa.string()), pa.string(), pa.string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int8(), pa.string(), ordered=True), None),
        (pa.dictionary(pa.int64(), pa.string()), pa.dictionary(pa.uint64(), pa.string()), None),
        (LIST(pa.null()), LIST(pa.int8()), LIST(pa.int8())),
        (LIST(pa.string()), LARGE(pa.large_string()), LARGE(pa.large_string())),
        (LIST(pa.int8(), 2), LIST(pa.int8(), 3), None),
        (LIST(pa.int8(), 2), LIST(pa.int8()), None),
        (
            pa.struct([("a", pa.null()), ("b", pa.int64())]),
            pa.struct([("a", pa.string()), ("b", pa.float64())]),
            pa.struct([("a", pa.string()), ("b", pa.float64())]),
        ),
        (pa.struct([("a", pa.null())]), pa.struct([("b", pa.null())]), None),
        (pa.map_(pa.string(), pa.int8()), pa.map_(pa.large_string(), pa.int32()), "map"),
    ],
    ids=str,
)
def test_the_wider_type_does_not_depend_on_the_order(one: pa.DataType, other: pa.DataType, wider: Any) -> None:
    named = {
        "map": pa.map_(pa.large_string(), pa.int32()),
        "dictionary of int32": pa.dictionary(pa.int32(), pa.string()),
    }
    expected = named[wider] if isinstance(wider, str) else wider
    assert wider_type(one, other) == expected
    assert wider_type(other, one) == expected


@pytest.mark.parametrize("around", [lambda kind: kind, LIST, lambda kind: pa.struct([("a", kind)])])
def test_integers_of_64_bits_have_no_exact_wider_type_with_doubles(around: Any) -> None:
    assert wider_type(around(pa.int32()), around(pa.float64()), exact=True) == around(pa.float64())
    assert wider_type(around(pa.int64()), around(pa.float64()), exact=True) is None
    assert wider_type(around(pa.uint64()), around(pa.float64()), exact=True) is None


def test_nan_stays_nan_in_a_wider_float() -> None:
    assert math.isnan(cast(pa.array([float("nan")], pa.float32()), pa.float64())[0].as_py())


@pytest.mark.parametrize(
    ("types", "widest"),
    [
        ([pa.float16(), pa.int8(), pa.uint8()], pa.float16()),
        ([pa.float32(), pa.int32(), pa.uint32()], pa.float64()),
        ([pa.null(), pa.date32(), pa.timestamp("ms")], pa.timestamp("ms")),
        ([pa.int64(), pa.string(), pa.null()], None),
    ],
    ids=str,
)
def test_the_widest_of_several_types_does_not_depend_on_the_order(types: list[pa.DataType], widest: Any) -> None:
    assert {widest_type(order) for order in permutations(types)} == {widest}


SECONDS = pa.timestamp("s")


@pytest.mark.parametrize(
    ("current", "seen", "grown", "fixed"),
    [
        (pa.null(), pa.bool_(), pa.bool_(), pa.bool_()),
        (pa.int64(), pa.float64(), pa.float64(), pa.float64()),
        (pa.date32(), SECONDS, SECONDS, SECONDS),
        (pa.string(), SECONDS, pa.string(), pa.string()),
        (SECONDS, pa.string(), pa.string(), None),
        (SECONDS, pa.timestamp("s", "UTC"), pa.string(), None),
        (pa.string(), pa.int64(), None, None),
        (pa.int64(), SECONDS, None, None),
        (pa.bool_(), pa.int64(), None, None),
        (LIST(pa.null()), LIST(pa.int64()), LIST(pa.int64()), LIST(pa.int64())),
        (LIST(pa.int64()), LIST(pa.string()), None, None),
        (pa.struct([("a", pa.int64())]), LIST(pa.int64()), None, None),
        (
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
            pa.struct([("b", pa.null()), ("a", pa.float64())]),
            pa.struct([("a", pa.float64()), ("b", pa.string())]),
            pa.struct([("a", pa.float64()), ("b", pa.string())]),
        ),
        (
            pa.struct([("a", pa.int64())]),
            pa.struct([("c", pa.bool_())]),
            pa.struct([("a", pa.int64()), ("c", pa.bool_())]),
            None,
        ),
    ],
    ids=str,
)
def test_an_inferred_type_grows_while_types_are_inferred_and_only_widens_afterwards(
    current: pa.DataType, seen: pa.DataType, grown: pa.DataType | None, fixed: pa.DataType | None
) -> None:
    assert wider_inferred_type(current, seen, grow=True) == grown
    assert wider_inferred_type(current, seen, grow=False) == fixed
