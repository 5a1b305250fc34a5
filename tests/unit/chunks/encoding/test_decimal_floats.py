"""Doubles stored as scaled integers: restored bit by bit or not scaled at all; no other type is read as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.chunks import cast_batch
from millrace.chunks.encode import assemble_as_stored
from millrace.chunks.encoding import decimal_floats
from millrace.chunks.encoding.stored_types import from_stored, number_type, to_stored
from millrace.errors import ChunkFormatError
from tests.unit.chunks.encoded import through_a_chunk

ROWS = 1024
NAN = float("nan")


def bits(array: pa.Array) -> list[int | None]:
    patterns: list[int | None] = array.view(pa.int64()).to_pylist()
    return patterns


def doubles(values: Any, null: Any = None) -> pa.Array:
    """Return doubles with nulls at ``null``; the values below the nulls stay in the buffer, as Arrow allows."""
    numbers = np.asarray(values, np.float64)
    valid = None if null is None else pa.array(~np.asarray(null, bool)).buffers()[1]
    return pa.Array.from_buffers(pa.float64(), len(numbers), [valid, pa.py_buffer(numbers)])


def unscaled(stored: pa.Array) -> pa.Array:
    [numbers] = from_stored([stored], pa.float64())
    return numbers


def there_and_back(array: pa.Array) -> pa.Array:
    stored = decimal_floats.encode(array)
    if stored is array:
        return array
    stored.validate(full=True)
    assert decimal_floats.number_type(stored.type) == pa.float64()
    back = unscaled(stored)
    back.validate(full=True)
    assert bits(back) == bits(array)
    assert back.null_count == array.null_count
    return stored


def divisor(stored: pa.Array) -> str:
    name: str = stored.type.field(0).name
    return name


@given(
    digits=st.integers(0, 9),
    size=st.sampled_from([1, 100, 30_000, 3_000_000, 2**31]),
    rare=st.lists(st.sampled_from([-0.0, NAN]), max_size=2),
    nulls=st.sampled_from([0.0, 0.3, 1.0]),
    cut=st.tuples(st.integers(0, 40), st.integers(0, 2000)),
    seed=st.integers(0, 2**32 - 1),
)
def test_decimals_are_restored_bit_by_bit_from_every_slice(
    digits: int, size: int, rare: list[float], nulls: float, cut: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(-size, size, ROWS) / 10.0**digits
    for value in rare:
        values[rng.integers(0, ROWS, 5)] = value
    array = doubles(values, rng.random(ROWS) < nulls).slice(cut[0] // 2)
    stored = there_and_back(array)
    if stored is not array:
        part = stored.slice(*cut)
        assert bits(unscaled(part)) == bits(array.slice(*cut))


@given(st.lists(st.floats(width=64), min_size=1, max_size=200))
def test_any_doubles_are_restored_bit_by_bit(values: list[float]) -> None:
    there_and_back(doubles(values))


@given(st.lists(st.decimals(-(10**6), 10**6, places=3).map(float), min_size=1, max_size=200))
def test_decimals_of_three_places_are_scaled(values: list[float]) -> None:
    _, _, by = divisor(there_and_back(doubles(values))).rpartition("divide_by_")
    assert int(by) in (1, 10, 100, 1000)


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        ([0.5, 1.5, -12.8], "divide_by_10", pa.int8()),
        ([0.5, 1.5, 25.5], "divide_by_10", pa.uint8()),
        ([1.0, 2.0, 100.0], "divide_by_1", pa.int8()),
        ([0.01, 3.0, 9.99], "divide_by_100", pa.int16()),
        ([0.0, 655.35], "divide_by_100", pa.uint16()),
        ([-0.01, 655.35], "divide_by_100", pa.int32()),
        ([20.317, 19.2], "divide_by_1000", pa.int16()),
        ([0.123456789, -0.9], "divide_by_1000000000", pa.int32()),
        ([-0.512, 20.317, 64.9], "plus_-512_divide_by_1000", pa.uint16()),
        ([100_000.5, 106_553.5], "plus_1000005_divide_by_10", pa.uint16()),
        ([100_000.5, 106_554.1], "divide_by_10", pa.int32()),
    ],
)
def test_the_fewest_digits_and_the_narrowest_integers_are_chosen(
    values: list[float], name: str, kind: pa.DataType
) -> None:
    stored = there_and_back(doubles(values))
    number = stored.type.field(0).type
    assert divisor(stored) == name
    assert (number_type(number) or number) == kind


@pytest.mark.parametrize(
    "values",
    [
        [0.1234567891], [1 / 3, 0.5], [float("inf"), 1.0], [-float("inf")], [1e300, 1.5], [5e-324], [2.0**31],
        [-(2.0**31) - 1], [0.1 + 0.2, 0.1], [float(2**53)],
    ],
)  # fmt: skip
def test_other_doubles_are_not_scaled(values: list[float]) -> None:
    array = doubles(values)
    assert decimal_floats.encode(array) is array


def test_a_column_with_a_nan_of_other_bits_is_not_scaled() -> None:
    values = np.array([1.5, 2.5, 0.0])
    values.view(np.int64)[2] = 0x7FF8 << 48 | 1
    array = doubles(values)
    assert decimal_floats.encode(array) is array


def test_a_column_with_a_signalling_nan_is_not_scaled_and_raises_no_warning() -> None:
    values = np.ones(5000)
    values.view(np.int64)[5] = 0x7FF0 << 48 | 1
    array = doubles(values)
    assert decimal_floats.encode(array) is array


def test_minus_zero_and_nan_are_marked_only_if_present() -> None:
    for values, names in (
        ([1.5, 0.0], []),
        ([1.5, -0.0], ["minus_zero"]),
        ([1.5, NAN], ["nan"]),
        ([NAN, 1.5, -0.0], ["minus_zero", "nan"]),
    ):
        assert [field.name for field in there_and_back(doubles(values)).type][1:] == names


def test_values_below_nulls_are_ignored() -> None:
    array = doubles([1.5, 1 / 3, NAN, -0.0, float("inf"), 2.5], [False, True, True, True, True, False])
    stored = there_and_back(array)
    assert divisor(stored) == "divide_by_10"
    assert stored.type.num_fields == 1


def test_digits_outside_of_the_sample_are_found() -> None:
    values = np.full(10_000, 1.5)
    values[4_321] = 1.25
    assert divisor(there_and_back(doubles(values))) == "divide_by_100"
    values[4_321] = 1 / 3
    array = doubles(values)
    assert decimal_floats.encode(array) is array


def test_columns_without_values_or_rows_are_restored() -> None:
    for array in (doubles([]), doubles([1 / 3] * 5, [True] * 5), doubles([NAN] * 5), doubles([-0.0] * 5)):
        there_and_back(array)


LOOKALIKES = [
    pa.struct([pa.field("divide_by_1000", pa.int32())]),  # nullable field
    pa.struct([pa.field("divide_by_999", pa.int32(), False)]),
    pa.struct([pa.field("divide_by_", pa.int32(), False)]),
    pa.struct([pa.field("divide_by_10000000000", pa.int32(), False)]),
    pa.struct([pa.field("plus__divide_by_10", pa.int32(), False)]),
    pa.struct([pa.field("plus_x_divide_by_10", pa.int32(), False)]),
    pa.struct([pa.field("plus_1_divide_by_10", pa.uint32(), False)]),
    pa.struct([pa.field("divide_by_1000", pa.int64(), False)]),
    pa.struct([pa.field("divide_by_1000", pa.float64(), False)]),
    pa.struct([pa.field("divide_by_1000", pa.struct([pa.field("x", pa.int8(), False)]), False)]),
    pa.struct([pa.field("divide_by_1000", pa.int32(), False), pa.field("other", pa.bool_(), False)]),
    pa.struct([pa.field("divide_by_1000", pa.int32(), False), pa.field("nan", pa.int8(), False)]),
    pa.struct([pa.field("divide_by_10", pa.int8(), False), pa.field("nan", pa.bool_(), False),
               pa.field("minus_zero", pa.bool_(), False)]),
    pa.struct([]),
    pa.float64(),
]  # fmt: skip


@pytest.mark.parametrize("type_", LOOKALIKES, ids=str)
def test_no_other_type_is_read_as_a_scaled_double(type_: pa.DataType) -> None:
    assert decimal_floats.number_type(type_) is None
    assert number_type(type_) is None
    if pa.types.is_struct(type_):
        array = pa.array([None, None], type_)
        with pytest.raises(ChunkFormatError, match="column 'a' cannot be read as double"):
            cast_batch(pa.record_batch([array], ["a"]), pa.schema([pa.field("a", pa.float64())]))


@pytest.mark.parametrize("wide", [pa.int64(), pa.float32(), pa.string(), pa.decimal128(10, 3)])
def test_scaled_doubles_are_refused_as_other_types(wide: pa.DataType) -> None:
    stored = pa.record_batch([decimal_floats.encode(doubles([1.5, 2.25]))], ["a"])
    with pytest.raises(ChunkFormatError, match="column 'a' cannot be read as"):
        cast_batch(stored, pa.schema([pa.field("a", wide)]))


@pytest.mark.parametrize("codec", ["gzip", "zstd", "none"])
def test_a_chunk_stores_scaled_integers_and_returns_doubles(codec: str) -> None:
    rng = np.random.default_rng(5)
    values = np.round(rng.normal(0, 0.1, 5_000), 3)
    assert (np.signbit(values) & (values == 0)).any()
    values[::77] = np.nan
    schema = pa.schema([pa.field("a", pa.float64(), metadata={"unit": "m"}), pa.field("b", pa.float64())])
    batch = pa.record_batch([doubles(values, rng.random(5_000) < 0.1), doubles(rng.random(5_000))], schema=schema)
    stored = through_a_chunk(batch, codec, assemble_as_stored)
    assert decimal_floats.number_type(stored.schema.field(0).type) == pa.float64()
    assert pa.types.is_float64(stored.schema.field(1).type)
    back = through_a_chunk(batch, codec)
    assert back.schema.equals(schema, check_metadata=True)
    assert [bits(column) for column in back.columns] == [bits(column) for column in batch.columns]


@pytest.mark.parametrize(
    "type_", [decimal_floats.encode(doubles(values)).type for values in ([1.5], [700.5, -0.0, NAN])]
)
def test_a_struct_column_of_the_same_type_stays_a_struct(type_: pa.DataType) -> None:
    stored = decimal_floats.encode(doubles([700.5, -0.0, NAN] * 1000 if type_.num_fields == 3 else [1.5] * 3000))
    batch = pa.record_batch([stored], ["a"])
    assert through_a_chunk(batch).equals(batch)


def test_scaled_sensor_values_take_a_quarter_of_their_bytes() -> None:
    rng = np.random.default_rng(7)
    batch = pa.record_batch([doubles(np.round(rng.normal(20, 5, 12_500), 3))], ["a"])
    assert to_stored(batch).nbytes <= batch.nbytes / 4
