"""Bitwise equality of arrays of every type, for any layout of the same values."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.arrow.equality import same_values
from millrace.arrow.selection import taken
from tests.unit.arrow.arrays import DICTIONARIES, OTHERS, PRIMITIVES, make_array

ROWS = 24
EVERY = [type_ for type_ in (*PRIMITIVES, *DICTIONARIES, *OTHERS) if not pa.types.is_null(type_)]
OFFSETS = pa.array(range(0, ROWS + 1, 2), pa.int32())
AROUND: dict[str, Callable[[pa.Array], pa.Array]] = {
    "nothing": lambda array: array,
    "list": lambda array: pa.ListArray.from_arrays(OFFSETS, array),
    "list_view": lambda array: pa.ListViewArray.from_arrays(
        OFFSETS.slice(0, ROWS // 2), pa.array([2] * (ROWS // 2), pa.int32()), array
    ),
    "fixed_size_list": lambda array: pa.FixedSizeListArray.from_arrays(array, 2),
    "map": lambda array: pa.MapArray.from_arrays(OFFSETS, pa.array(range(ROWS)), array),
    "struct": lambda array: pa.StructArray.from_arrays([array, pa.array([float("nan")] * ROWS)], ["a", "nan"]),
    "list of structs": lambda array: AROUND["list"](AROUND["struct"](array)),
}


def distinct(type_: pa.DataType) -> pa.Array:
    """Return values of which the last two differ."""
    for seed in range(50):
        array = make_array(type_, ROWS, np.random.default_rng(seed))
        last = [pa.concat_arrays([array.slice(ROWS - row, 1)]).to_string() for row in (1, 2)]
        if last[0] != last[1]:
            return array
    raise AssertionError(type_)


@pytest.mark.parametrize(("around", "type_"), list(product(AROUND, EVERY)), ids=str)
def test_equal_values_are_equal_and_one_different_value_is_found(around: str, type_: pa.DataType) -> None:
    array = distinct(type_)
    other = taken(array, np.array([*range(ROWS - 1), ROWS - 2]))
    one, again, changed = (AROUND[around](values) for values in (array, taken(array, np.arange(ROWS)), other))
    assert same_values(one, one)
    assert same_values(one, again)
    assert not same_values(one, changed)
    rows = len(one)
    assert same_values(one.slice(0, rows - 1), changed.slice(0, rows - 1))
    assert same_values(one.slice(3), again.slice(3))
    assert not same_values(one.slice(3), changed.slice(3))
    assert not same_values(one, one.slice(1))


@pytest.mark.parametrize("around", AROUND)
def test_a_null_differs_from_a_value_and_bytes_below_it_are_ignored(around: str) -> None:
    def over(values: list[int], valid: list[bool]) -> pa.Array:
        bits, numbers = pa.array(valid).buffers()[1], pa.py_buffer(np.array(values, np.int64))
        return AROUND[around](pa.Array.from_buffers(pa.int64(), ROWS, [bits, numbers]))

    valid = [True] * (ROWS - 1) + [False]
    one, garbage = over([7] * ROWS, valid), over([7] * (ROWS - 1) + [99], valid)
    assert same_values(one, garbage)
    assert not same_values(one, over([7] * ROWS, [True] * ROWS))
    assert not same_values(one, over([7] * ROWS, [*valid[:-2], False, True]))


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("type_", [pa.float16(), pa.float32(), pa.float64()], ids=str)
def test_zero_and_minus_zero_differ_at_any_depth(around: str, type_: pa.DataType) -> None:
    plus, minus = (AROUND[around](pa.array([1.0] * (ROWS - 1) + [zero]).cast(type_)) for zero in (0.0, -0.0))
    assert same_values(plus, plus)
    assert not same_values(plus, minus)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize(
    "values", [pa.array([1, 2], pa.timestamp("ns")), pa.array(["a", "b"], pa.string_view())], ids=["moments", "views"]
)
def test_dictionaries_in_another_order_are_equal(around: str, values: pa.Array) -> None:
    indices = np.arange(ROWS) % 2
    one = AROUND[around](pa.DictionaryArray.from_arrays(pa.array(indices), values))
    other = AROUND[around](pa.DictionaryArray.from_arrays(pa.array(1 - indices), taken(values, [1, 0])))
    changed = AROUND[around](pa.DictionaryArray.from_arrays(pa.array(indices), taken(values, [1, 0])))
    assert same_values(one, other)
    assert not same_values(one, changed)


def test_nulls_in_indices_and_in_dictionaries_are_equal() -> None:
    values = pa.array(["a", None])
    one = pa.DictionaryArray.from_arrays(pa.array([0, 1, 1]), values)
    other = pa.DictionaryArray.from_arrays(pa.array([0, None, 1]), values)
    assert same_values(one, other)
    assert not same_values(one, pa.DictionaryArray.from_arrays(pa.array([0, 0, 1]), values))


def test_run_end_encoded_arrays_with_other_run_ends_are_equal() -> None:
    def runs(ends: list[int], values: list[Any]) -> pa.Array:
        return pa.RunEndEncodedArray.from_arrays(pa.array(ends, pa.int32()), pa.array(values))

    assert same_values(runs([2, 4], [1, 2]), runs([1, 2, 4], [1, 1, 2]))
    assert not same_values(runs([2, 4], [1, 2]), runs([1, 4], [1, 2]))


def test_lists_of_nulls_of_another_length_differ() -> None:
    assert same_values(pa.array([[None], []]), pa.array([[None], []]))
    assert not same_values(pa.array([[None], []]), pa.array([[None, None], []]))


@pytest.mark.parametrize("make", [pa.sparse_union, pa.dense_union])
def test_empty_lists_of_unions_are_equal_after_an_ipc_stream(make: Any) -> None:
    type_ = pa.list_(make([pa.field("a", pa.int64()), pa.field("b", pa.string())]))
    batch = pa.record_batch([empties(type_)], ["x"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    read = pa.ipc.open_stream(sink.getvalue()).read_next_batch()
    assert same_values(batch.column(0), read.column(0))


def empties(type_: pa.DataType) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, 0, 0], pa.int32()), pa.nulls(0, type_.value_type), type=type_)
