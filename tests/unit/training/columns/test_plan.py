"""The writing of rows to their places in batches, compared with ``to_pylist``."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import UsageError
from millrace.training.columns import ColumnPlan, plan_columns
from tests.unit.arrow.arrays import PRIMITIVES, make_array
from tests.unit.training.columns.references import expected_rows

NUMBERS = [
    type_
    for type_ in PRIMITIVES
    if pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_)
]
PLAIN = NUMBERS + [type_ for type_ in PRIMITIVES if pa.types.is_temporal(type_) and not pa.types.is_interval(type_)]


def leaves() -> st.SearchStrategy[pa.DataType]:
    plain = st.sampled_from([*PLAIN, pa.binary(1), pa.binary(16), pa.uuid()])
    return st.one_of(
        plain,
        plain,
        st.sampled_from(PLAIN).map(lambda type_: pa.dictionary(pa.int16(), type_)),
        st.sampled_from(PLAIN).map(lambda type_: pa.run_end_encoded(pa.int32(), type_)),
        st.sampled_from(NUMBERS).map(lambda type_: pa.fixed_shape_tensor(type_, (2, 3))),
    )


def fixed_types() -> st.SearchStrategy[pa.DataType]:
    lists = st.integers(1, 3)
    return st.one_of(
        leaves(),
        st.builds(pa.list_, leaves(), lists),
        st.builds(lambda type_, inner, outer: pa.list_(pa.list_(type_, inner), outer), leaves(), lists, lists),
    )


def plan_of(type_: pa.DataType, **options: Any) -> ColumnPlan:
    [plan] = plan_columns(pa.schema([pa.field("x", type_)]), {}, **options)
    assert isinstance(plan, ColumnPlan)
    return plan


def scattered(plan: ColumnPlan, array: pa.Array, first: int, rows: int, seed: int = 0) -> Any:
    """Return the rows after a scatter to random places among others, gathered again."""
    out = plan.allocate(rows + 5)
    out.reshape(-1).view(np.uint8)[:] = 0x55
    before = out.copy()
    index = np.random.default_rng(seed).permutation(rows + 5)
    plan.scatter(array, out, index[:rows], first, rows)
    assert out[index[rows:]].tobytes() == before[index[rows:]].tobytes()
    return out[index[:rows]]


@given(fixed_types(), st.integers(0, 40), st.integers(0, 9), st.integers(0, 2**32 - 1), st.booleans())
def test_rows_of_every_fixed_type_are_those_of_to_pylist(
    type_: pa.DataType, rows: int, before: int, seed: int, nulls: bool
) -> None:
    rng = np.random.default_rng(seed)
    array = make_array(type_, before + rows + 7, rng, nulls=nulls).slice(before)
    fill = 1 if plan_of(type_).dtype.kind != "f" else np.nan
    plan = plan_of(type_, nulls={"x": np.datetime64("NaT")} if plan_of(type_).dtype.kind in "Mm" else {"x": fill})
    fill = np.iinfo(np.int64).min if plan.dtype.kind in "Mm" else fill
    first = int(rng.integers(0, 7))
    expected = expected_rows(array.slice(first, rows), plan, fill)
    np.testing.assert_array_equal(scattered(plan, array, first, rows), expected)


@given(st.sampled_from([type_ for type_ in PLAIN if not pa.types.is_boolean(type_)]), st.integers(1, 30))
def test_numbers_without_nulls_are_copied_to_the_bit(type_: pa.DataType, rows: int) -> None:
    array = make_array(type_, rows, np.random.default_rng(rows), nulls=False)
    plan = plan_of(type_, format="arrow", nulls={"x": array[0]})
    stored = np.frombuffer(array.buffers()[1], plan.dtype, rows)
    assert scattered(plan, array, 0, rows).tobytes() == stored.tobytes()


@pytest.mark.parametrize("piece_bytes", [1, 100, 1 << 18])
def test_rows_are_the_same_for_every_size_of_the_pieces(piece_bytes: int) -> None:
    rng = np.random.default_rng(3)
    for type_ in (pa.list_(pa.bool_(), 3), pa.date32(), pa.float32(), pa.list_(pa.list_(pa.float64(), 2), 2)):
        array, plan = make_array(type_, 200, rng), plan_of(type_, nulls={"x": 1} if type_ != pa.date32() else None)
        if type_ == pa.date32():
            array = array.drop_null()
        expected = expected_rows(array, plan, 1)
        cut = dataclasses.replace(plan, piece_bytes=piece_bytes)
        np.testing.assert_array_equal(scattered(cut, array, 0, len(array)), expected)


def test_nulls_are_nan_in_floats_and_lists_of_floats() -> None:
    flat = pa.array([1.5, None, 2.5], pa.float32())
    assert np.isnan(scattered(plan_of(flat.type), flat, 0, 3)).tolist() == [False, True, False]
    lists = pa.array([[1.0, None], None, [3.0, 4.0]], pa.list_(pa.float32(), 2))
    np.testing.assert_array_equal(
        scattered(plan_of(lists.type), lists, 0, 3), np.array([[1, np.nan], [np.nan, np.nan], [3, 4]], np.float32)
    )


def test_a_null_that_no_statistics_told_of_is_refused_with_the_column_and_the_way_out() -> None:
    lists = pa.array([[1, 2], [3, None]], pa.list_(pa.int64(), 2))
    plan = plan_of(lists.type)
    assert scattered(plan, lists, 0, 1).tolist() == [[1, 2]]
    with pytest.raises(UsageError, match=r"column 'x' of type fixed_size_list.* holds nulls: .*nulls=\{'x': VALUE\}"):
        scattered(plan, lists, 0, 2)


def test_bytes_that_are_not_aligned_are_read() -> None:
    numbers = np.arange(100, dtype=np.int64)
    shifted = pa.py_buffer(b"\0" + numbers.tobytes()).slice(1)
    array = pa.Array.from_buffers(pa.int64(), 100, [None, shifted])
    np.testing.assert_array_equal(scattered(plan_of(pa.int64()), array, 0, 100), numbers)


@pytest.mark.parametrize("type_", [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.bool_()], ids=str)
def test_normalized_columns_are_float32_computed_in_float64(type_: pa.DataType) -> None:
    array = make_array(type_, 500, np.random.default_rng(1), nulls=False)
    plan = plan_of(type_, normalize={"x": (3.25, 7.5)})
    values = np.array([float(value) for value in array.to_pylist()])
    with np.errstate(invalid="ignore"):
        expected = ((values - 3.25) / 7.5).astype(np.float32)
    assert plan.dtype == np.float32
    np.testing.assert_array_equal(scattered(plan, array, 0, 500), expected)


def test_a_double_stays_a_double_when_it_is_normalized() -> None:
    array = pa.array([1e300, 2.0])
    plan = plan_of(array.type, normalize={"x": (1.0, 2.0)})
    assert plan.dtype == np.float64
    assert scattered(plan, array, 0, 2).tolist() == [(1e300 - 1) / 2, 0.5]


def test_each_value_of_a_row_may_have_its_own_mean() -> None:
    array = pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.int32(), 2), 2))
    mean, std = np.array([[1, 2], [3, 4]]), np.array([[1], [2]])
    plan = plan_of(array.type, normalize={"x": (mean, std)})
    expected = (np.array(array.to_pylist()) - mean) / std
    np.testing.assert_array_equal(scattered(plan, array, 0, 2), expected.astype(np.float32))


def test_nulls_of_a_normalized_column_are_nan_or_the_normalized_value_for_nulls() -> None:
    array = pa.array([1, None, 3])
    plan = plan_of(array.type, normalize={"x": (1, 2)})
    np.testing.assert_array_equal(scattered(plan, array, 0, 3), np.array([0, np.nan, 1], np.float32))
    filled = plan_of(array.type, normalize={"x": (1, 2)}, nulls={"x": 5})
    assert scattered(filled, array, 0, 3).tolist() == [0, 2, 1]


def test_the_gil_is_released_while_rows_are_copied() -> None:
    rows = 1 << 22
    plan, numbers = plan_of(pa.list_(pa.uint8(), 3)), np.zeros(3 * rows, np.uint8)
    array = pa.FixedSizeListArray.from_arrays(pa.array(numbers), 3)
    out, index = plan.allocate(rows), np.random.default_rng(0).permutation(rows)
    ended, ticks = threading.Event(), []

    def tick() -> None:
        while not ended.is_set():
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    plan.scatter(array, out, index, 0, rows)
    stop = time.perf_counter()
    ended.set()
    thread.join()
    middle = [start + part * (stop - start) for part in (0.1, 0.9)]
    assert sum(middle[0] < tick < middle[1] for tick in ticks) > 100
