"""The quality of a shuffle: 1 is a full shuffle, and more means batches of rows that lay near each other."""

from __future__ import annotations

import numpy as np
import pytest

from millrace.training.order import BatchPlan, Order, OrderSpec, Shuffle, Tail
from millrace.training.planning.shuffle_quality import shuffle_quality

CHUNKS, CHUNK_ROWS, BATCH_ROWS = 256, 2_000, 256


def quality(shuffle: Shuffle, *, window_chunks: int = 4, lanes: int = 8, chunks: int = CHUNKS) -> float | None:
    spec = OrderSpec("flights@1-abc", None, 7, lanes, shuffle, window_chunks)
    order = Order(spec, np.full(chunks, CHUNK_ROWS, np.int64))
    return shuffle_quality(order, BatchPlan(order.rows_of_lanes, BATCH_ROWS, Tail.DROP_LAST))


@pytest.mark.parametrize("lanes", [1, 8])
def test_a_full_shuffle_is_one(lanes: int) -> None:
    full = quality(Shuffle.FULL, lanes=lanes)
    assert full is not None
    assert 0.85 < full < 1.1


def test_a_wider_window_and_more_lanes_come_nearer_to_a_full_shuffle() -> None:
    narrow, wide, more = (
        quality(Shuffle.WINDOW, window_chunks=1),
        quality(Shuffle.WINDOW, window_chunks=8),
        quality(Shuffle.WINDOW, window_chunks=1, lanes=64),
    )
    assert narrow is not None
    assert wide is not None
    assert more is not None
    assert narrow > 2
    assert wide < 0.6 * narrow
    assert more < 0.6 * narrow


def test_the_quality_is_that_of_the_batches_which_the_order_gives() -> None:
    spec = OrderSpec("flights@1-abc", None, 3, 2, Shuffle.WINDOW, 1)
    order = Order(spec, np.array([4, 4, 4, 4], np.int64))
    plan = BatchPlan(order.rows_of_lanes, 4, Tail.DROP_LAST)
    means = []
    delivered: list[list[int]] = []
    for lane in range(2):
        rows: list[int] = []
        for window in order.windows(lane, 0):
            source = [4 * part.chunk + part.first_row + row for part in window.fragments for row in range(part.rows)]
            placed = [0] * window.rows
            for row, position in zip(source, order.positions(window), strict=True):
                placed[position] = row
            rows += placed
        delivered.append(rows)
    for batch in range(plan.batches - 1):
        slices = [plan.lane_slice(batch, lane) for lane in range(2)]
        means.append(np.mean([row for lane, (first, stop) in enumerate(slices) for row in delivered[lane][first:stop]]))
    expected = np.std(means) / np.sqrt(17 * 12 / (12 * 4))
    assert shuffle_quality(order, plan) == pytest.approx(expected)


def test_the_stored_order_and_a_single_batch_have_no_quality() -> None:
    assert quality(Shuffle.NONE) is None
    assert quality(Shuffle.FULL, chunks=1, lanes=8) is not None
    spec = OrderSpec("flights@1-abc", None, 3, 1, Shuffle.FULL, 1)
    order = Order(spec, np.array([300], np.int64))
    assert shuffle_quality(order, BatchPlan(order.rows_of_lanes, 256, Tail.DROP_LAST)) is None
