"""Columns are stored in narrower types without loss, and only where that saves space."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from millrace.chunks import RowGroup, cast_batch, compute_stats
from millrace.chunks.narrow import narrow_batch


def narrowed(array: pa.Array, **options: Any) -> pa.Array:
    """Narrow the column, assert that values, metadata and statistics are kept, and return it."""
    batch = pa.record_batch([array], pa.schema([pa.field("a", array.type, metadata={"unit": "km"})], {"made": "here"}))
    narrow = narrow_batch(batch, **options)
    narrow.validate(full=True)
    back = cast_batch(narrow, batch.schema)
    assert back.equals(batch, check_metadata=True)
    assert narrow.schema.field(0).metadata == {b"unit": b"km"}
    assert compute_stats(narrow, batch.schema).equals(compute_stats(batch))
    return narrow.column(0)


@pytest.mark.parametrize(
    ("low", "high", "type_", "narrow"),
    [
        (-128, 127, pa.int64(), pa.int8()),
        (-129, 127, pa.int64(), pa.int16()),
        (0, 128, pa.int64(), pa.uint8()),
        (0, 255, pa.int16(), pa.uint8()),
        (0, 256, pa.int64(), pa.int16()),
        (-1, 128, pa.int64(), pa.int16()),
        (-(2**15), 2**15 - 1, pa.int32(), pa.int16()),
        (0, 2**15, pa.int32(), pa.uint16()),
        (0, 2**16, pa.int32(), pa.int32()),
        (-(2**31), 2**31 - 1, pa.int64(), pa.int32()),
        (0, 2**31, pa.int64(), pa.uint32()),
        (0, 2**32, pa.int64(), pa.int64()),
        (-1, 2**31, pa.int64(), pa.int64()),
        (-(2**63), 2**63 - 1, pa.int64(), pa.int64()),
        (0, 255, pa.uint64(), pa.uint8()),
        (0, 256, pa.uint16(), pa.uint16()),
        (0, 2**32 - 1, pa.uint64(), pa.uint32()),
        (0, 2**64 - 1, pa.uint64(), pa.uint64()),
        (-5, 5, pa.int8(), pa.int8()),
    ],
)
def test_integers_become_the_narrowest_that_hold_them(
    low: int, high: int, type_: pa.DataType, narrow: pa.DataType
) -> None:
    assert narrowed(pa.array([low, None, high, 0], type_)).type == narrow


def test_no_narrower_than_asked() -> None:
    assert narrowed(pa.array([1, 2]), integer_bits_min=32).type == pa.int32()
    assert narrowed(pa.array([1, 2], pa.int16()), integer_bits_min=32).type == pa.int16()


def test_values_below_nulls_are_ignored() -> None:
    values = pa.array(np.array([1, 2**40, 3]))
    array = pa.Array.from_buffers(pa.int64(), 3, [pa.py_buffer(b"\x05"), values.buffers()[1]])
    assert narrowed(array).type == pa.int8()


def test_columns_without_values_or_rows_keep_their_type() -> None:
    assert narrowed(pa.nulls(5, pa.int64())).type == pa.int64()
    assert narrowed(pa.array([], pa.int64())).type == pa.int64()
    assert narrowed(pa.nulls(5000, pa.string())).type == pa.string()
    assert narrowed(pa.array([], pa.string())).type == pa.string()


@pytest.mark.parametrize("type_", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()])
@pytest.mark.parametrize(("values", "index"), [(1, "int8"), (128, "int8"), (129, "int16"), (40_000, "int32")])
def test_text_that_repeats_becomes_a_dictionary_with_the_narrowest_index(
    type_: pa.DataType, values: int, index: str
) -> None:
    words = pa.array([f"w{i}" for i in range(values)]).cast(type_)
    picked = np.arange(max(2048, values * 8)) % max(1, values)
    rng = np.random.default_rng(3)
    if values > 128:
        picked[: len(picked) // 2] = rng.integers(
            0, 50, len(picked) // 2
        )  # the first rows repeat, so the sample repeats
        picked = np.concatenate([picked, np.arange(values)])
        picked = np.concatenate([picked, picked])
    mask = rng.random(len(picked)) < 0.1
    mask[-values:] = False
    array = words.take(pa.array(picked, mask=mask))
    narrow = narrowed(array)
    assert str(narrow.type.index_type) == index
    assert narrow.type.value_type == type_


def test_text_that_does_not_repeat_or_is_long_or_has_few_rows_stays() -> None:
    assert narrowed(pa.array([f"row {i}" for i in range(5000)])).type == pa.string()
    assert narrowed(pa.array([f"row {i % 1000}" for i in range(5000)])).type == pa.string()
    assert narrowed(pa.array(["x" * 65, "y"] * 3000)).type == pa.string()
    assert narrowed(pa.array(["x", "y"] * 100)).type == pa.string()
    assert pa.types.is_dictionary(narrowed(pa.array(["x" * 64, "y"] * 3000)).type)


def test_a_slice_is_narrowed_by_its_own_values() -> None:
    array = pa.array([2**40, *range(100), 2**40]).slice(1, 100)
    assert narrowed(array).type == pa.int8()
    text = pa.array([f"once {i}" for i in range(2000)] + ["a", "b"] * 2000).slice(2000)
    assert len(narrowed(text).dictionary) == 2


def test_a_batch_with_nothing_to_gain_is_the_same_object() -> None:
    batch = pa.record_batch([pa.array([1.5]), pa.array([True])], ["x", "y"])
    assert narrow_batch(batch) is batch


@pytest.mark.parametrize("rows", [0, 1, 3000])
def test_narrowing_is_lossless_for_every_type(every_type: Any, any_array: Any, equal: Any, rows: int) -> None:
    rng = np.random.default_rng(rows)
    for type_ in every_type:
        batch = pa.record_batch([any_array(type_, rows + 5, rng)], ["a"]).slice(3, rows)
        narrow = narrow_batch(batch)
        assert equal(cast_batch(narrow, batch.schema), batch)
        assert equal(compute_stats(narrow, batch.schema), compute_stats(batch))


@pytest.mark.parametrize("cuts", [[], [1], [700, 701, 701, 2000]])
def test_a_row_group_of_many_batches_is_narrowed_as_one_batch(
    every_type: Any, any_array: Any, equal: Any, cuts: list[int]
) -> None:
    rng = np.random.default_rng(len(cuts))
    for type_ in every_type:
        one_batch = pa.record_batch([any_array(type_, 3000, rng)], ["a"])
        edges = [0, *cuts, 3000]
        group = RowGroup(tuple(one_batch.slice(low, high - low) for low, high in itertools.pairwise(edges)))
        assert (group.num_rows, group.schema) == (3000, one_batch.schema)
        assert equal(group.to_batch(), one_batch)
        narrow, alone = narrow_batch(group), narrow_batch(one_batch)
        assert narrow.schema.equals(alone.schema, check_metadata=True), type_
        assert equal(cast_batch(narrow, one_batch.schema), one_batch), type_
        assert equal(compute_stats(narrow, one_batch.schema), compute_stats(one_batch)), type_


def test_a_row_group_without_columns_keeps_its_rows() -> None:
    empty = pa.record_batch([pa.nulls(5)], ["a"]).select([])
    assert narrow_batch(RowGroup((empty, empty))).num_rows == 10
