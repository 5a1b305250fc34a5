"""Batches share the memory of the arrays that hold their rows, in each format."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import UsageError
from millrace.training.columns import plan_columns
from millrace.training.formats import batch_maker
from tests.unit.arrow.arrays import make_array, same
from tests.unit.training.columns.test_plan import NUMBERS, PLAIN, scattered

TENSOR = pa.fixed_shape_tensor(pa.int16(), (2, 3), permutation=[1, 0])
FLAT = st.one_of(
    st.sampled_from([*PLAIN, pa.binary(3), pa.uuid()]),
    st.builds(lambda type_: pa.list_(pa.list_(type_, 2), 3), st.sampled_from(NUMBERS)),
    st.builds(lambda type_: pa.fixed_shape_tensor(type_, (2, 3)), st.sampled_from(NUMBERS)),
)


def plans_of(schema: pa.Schema, format: str, **options: Any) -> list[Any]:
    return plan_columns(schema, dict.fromkeys(schema.names, 0), format=format, **options)


@given(FLAT, st.integers(0, 20), st.integers(0, 999))
def test_an_arrow_batch_holds_the_values_that_were_scattered(type_: pa.DataType, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = make_array(type_, rows + 3, rng, nulls=False)
    is_list = bool(pa.types.is_fixed_size_list(type_)) or isinstance(type_, pa.FixedShapeTensorType)
    schema = pa.schema([pa.field("x", type_)])
    plans = plan_columns(schema, {"x": 0}, format="arrow", nulls={"x": 1} if is_list else None)
    if is_list:
        array = without_nulls(array, plans[0])
    batch = batch_maker("arrow", plans)({"x": scattered(plans[0], array, 2, rows)})
    assert batch.schema.field("x").type == type_
    batch.validate(full=True)
    assert same(batch, pa.record_batch([array.slice(2, rows)], schema))


def without_nulls(lists: pa.Array, plan: Any) -> pa.Array:
    """Return the lists with 1 in place of nulls within them."""
    return batch_maker("arrow", [plan])({"x": scattered(plan, lists, 0, len(lists))}).column(0)


def test_batches_share_memory_with_the_arrays() -> None:
    schema = pa.schema([pa.field("a", pa.int32()), pa.field("t", TENSOR)])
    plans = plans_of(schema, "numpy")
    columns = {plan.name: plan.allocate(8)[2:6] for plan in plans}
    batch = batch_maker("numpy", plans)(columns)
    assert all(np.shares_memory(batch[name], columns[name]) for name in schema.names)
    plans = plans_of(schema, "arrow", nulls={"t": 0})
    columns = {plan.name: plan.allocate(8)[2:6] for plan in plans}
    record_batch = batch_maker("arrow", plans)(columns)
    for name in schema.names:
        column = record_batch.column(name)
        storage = column.storage.values if isinstance(column, pa.ExtensionArray) else column
        assert storage.buffers()[1].address == columns[name].ctypes.data


def test_the_axes_of_a_tensor_come_in_the_order_in_which_they_are_shown() -> None:
    array = pa.ExtensionArray.from_storage(TENSOR, pa.array([[1, 2, 3, 4, 5, 6]], TENSOR.storage_type))
    plans = plans_of(pa.schema([pa.field("t", TENSOR)]), "numpy")
    shown = batch_maker("numpy", plans)({"t": scattered(plans[0], array, 0, 1)})["t"]
    assert shown.shape == (1, 3, 2)
    np.testing.assert_array_equal(shown, array.to_numpy_ndarray())
    scaled = plans_of(
        pa.schema([pa.field("t", TENSOR)]), "numpy", normalize={"t": (np.arange(6).reshape(3, 2), np.ones((3, 2)))}
    )
    normalized = batch_maker("numpy", scaled)({"t": scattered(scaled[0], array, 0, 1)})["t"]
    np.testing.assert_array_equal(normalized[0], shown[0] - np.arange(6).reshape(3, 2))


def test_ragged_columns_and_columns_of_numbers_are_in_one_record_batch() -> None:
    schema = pa.schema([pa.field("text", pa.string()), pa.field("n", pa.int64(), nullable=False)])
    plans = plans_of(schema, "arrow")
    batch = batch_maker("arrow", plans)({"text": pa.array(["a", None]), "n": np.array([1, 2])})
    assert batch.to_pylist() == [{"text": "a", "n": 1}, {"text": None, "n": 2}]


def test_torch_is_imported_for_its_own_format_only() -> None:
    plans = plans_of(pa.schema([pa.field("n", pa.int64())]), "numpy")
    batch_maker("numpy", plans)
    batch_maker("arrow", plans)
    assert "torch" not in sys.modules


def test_without_torch_its_format_is_refused_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    plans = plans_of(pa.schema([pa.field("n", pa.int64())]), "torch")
    with pytest.raises(UsageError, match="torch is not installed"):
        batch_maker("torch", plans)
