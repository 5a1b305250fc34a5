"""Columns of any type in Arrow batches: pieces with memory of their own, and rows in the order of a window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.arrow import same_values, taken
from millrace.chunks import cast_batch
from millrace.errors import UsageError
from millrace.training.columns import RaggedPlan, plan_columns
from tests.unit.arrow.arrays import make_array, same, types


def plan_of(type_: pa.DataType, **options: Any) -> RaggedPlan:
    [plan] = plan_columns(pa.schema([pa.field("x", type_)]), {}, format="arrow", **options)
    assert isinstance(plan, RaggedPlan)
    return plan


def plain(array: pa.Array, type_: pa.DataType) -> pa.Array:
    return cast_batch(pa.record_batch([array], ["x"]), pa.schema([pa.field("x", type_)])).column(0)


def borrowed(array: pa.Array) -> tuple[pa.Array, np.ndarray[Any, Any]]:
    """Return the array in memory that can be written over, and that memory."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([pa.field("x", array.type)])) as writer:
        writer.write_batch(pa.record_batch([array], ["x"]))
    memory = np.frombuffer(sink.getvalue(), np.uint8).copy()
    return pa.ipc.open_stream(pa.py_buffer(memory)).read_next_batch().column(0), memory


@given(types(), st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), min_size=1, max_size=4), st.integers(0, 999))
def test_rows_of_every_type_come_in_the_order_of_the_window(
    type_: pa.DataType, fragments: list[tuple[int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    plan, pieces, expected = plan_of(type_), [], []
    for first, rows in fragments:
        array = make_array(type_, first + rows + 3, rng)
        expected.append(plain(array.slice(first, rows), plan.type))
        values, memory = borrowed(array)
        pieces.append(plan.collect(values, first, rows))
        memory[:] = 0xFF  # the memory of a chunk is reused
    positions = rng.permutation(sum(rows for _, rows in fragments))
    window = plan.take(pieces, positions)
    window.validate(full=True)
    schema = pa.schema([pa.field("x", plan.type)])
    in_order, rows_read = (
        pa.record_batch([column], schema) for column in (taken(window, positions), pa.concat_arrays(expected))
    )
    assert same(in_order, rows_read)


def test_dictionaries_are_decoded_at_any_depth() -> None:
    words = pa.array(["a", "b", None, "a"]).dictionary_encode()
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 4], pa.int32()), words)
    plan = plan_of(lists.type)
    assert plan.type == pa.list_(pa.string())
    assert same_values(plan.collect(lists, 1, 1), pa.array([[None, "a"]], plan.type))


def test_nulls_stay_unless_a_value_replaces_them() -> None:
    words = pa.array(["a", None, "c"])
    assert plan_of(words.type).collect(words, 0, 3).to_pylist() == ["a", None, "c"]
    assert plan_of(words.type, nulls={"x": "?"}).collect(words, 0, 3).to_pylist() == ["a", "?", "c"]


def test_a_window_that_one_array_cannot_hold_is_refused_with_the_column(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(pieces: list[pa.Array]) -> pa.Array:
        raise pa.ArrowInvalid("offset overflow while concatenating arrays, consider casting input")

    monkeypatch.setattr(pa, "concat_arrays", overflow)
    with pytest.raises(UsageError, match=r"column 'x' of a window: offset overflow .*choose a smaller window_chunks"):
        plan_of(pa.string()).take([pa.array(["a"])], np.array([0]))
