"""The memory of rows that differ in size is a bound for all rows that may be in memory at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.training.order import Order, OrderSpec, Shuffle
from millrace.training.reader.ragged_memory import RaggedMemory

CHUNKS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 900)), min_size=1, max_size=12)


@given(CHUNKS, st.integers(1, 3), st.integers(0, 200), st.integers(1, 300), st.data())
def test_the_windows_that_each_lane_has_in_memory_take_at_most_the_bound(
    chunks: list[tuple[int, int]], lanes: int, seed: int, span_rows: int, data: st.DataObject
) -> None:
    rows = lanes * np.array([rows for rows, _ in chunks], np.int64)
    sizes = np.array([size for _, size in chunks], np.int64)
    order = Order(OrderSpec("v", None, seed, lanes, Shuffle.WINDOW, 1), rows)
    memory = RaggedMemory.of(order, range(lanes), lambda chunk, count: int(sizes[chunk]) * count // int(rows[chunk]))
    in_memory_bytes = 0
    for lane in range(lanes):
        windows = [window for epoch in range(5) for window in order.windows(lane, epoch)]
        first = data.draw(st.integers(0, len(windows) - 1))
        ends = np.cumsum([window.rows for window in windows[first:]])
        for window in windows[first : first + int(np.searchsorted(ends, span_rows, side="right"))]:
            [fragment] = window.fragments
            in_memory_bytes += int(sizes[fragment.chunk]) * fragment.rows // int(rows[fragment.chunk])
    assert in_memory_bytes <= memory.bytes_max(lanes * span_rows)


def test_a_small_chunk_of_large_rows_counts_only_as_often_as_it_is_read() -> None:
    memory = RaggedMemory([10_000, 1], [100_000, 1_000])
    assert memory.bytes_max(0) == 0
    assert memory.bytes_max(1) == pytest.approx(1_000)
    assert memory.bytes_max(5_000) == pytest.approx(2 * 1_000 + 10 * 4_998, rel=0.001)
    assert memory.bytes_max(2 * 10_001) == pytest.approx(3 * 1_000 + 2 * 100_000, rel=0.001)


def test_columns_of_numbers_take_no_ragged_memory() -> None:
    assert RaggedMemory([10, 20], [0, 0]).bytes_max(10_000) == 0
