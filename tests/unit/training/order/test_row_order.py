"""The order of rows: golden hashes of each shuffle, and the limits of each."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given

from millrace.errors import UsageError
from millrace.training.order import ALGORITHM, Order, OrderSpec, Shuffle
from tests.unit.training.memory_loader import Case, MemoryLoader
from tests.unit.training.order.strategies import cases

SPEC = OrderSpec("flights@12-3fa9c1", "train", 7, lanes=4, shuffle=Shuffle.WINDOW, window_chunks=2)
CHUNK_ROWS = np.array([400, 0, 250, 333, 410, 121, 97, 388, 402, 399, 205, 180], np.int64)
GOLDEN = {
    (1, Shuffle.NONE): "e0761b362b062c8e",
    (1, Shuffle.CHUNK): "c52fdde57a7d6d96",
    (1, Shuffle.WINDOW): "283b209ab14d91d1",
    (1, Shuffle.FULL): "c55713f61cb7526c",
}
"""The hash of three epochs of all lanes by algorithm and shuffle. A changed hash needs a new algorithm number."""


def rows_of(order: Order, lane: int, epoch: int) -> list[int]:
    """Return the rows of a lane in an epoch, numbered in stored order."""
    starts = np.concatenate([[0], np.cumsum(CHUNK_ROWS)])
    rows: list[int] = []
    for window in order.windows(lane, epoch):
        source = np.concatenate(
            [starts[each.chunk] + each.first_row + np.arange(each.rows) for each in window.fragments]
        )
        permuted = np.empty_like(source)
        permuted[order.positions(window)] = source
        rows.extend(permuted.tolist())
    return rows


@pytest.mark.parametrize("shuffle", Shuffle)
def test_the_order_of_each_shuffle_has_its_golden_hash(shuffle: Shuffle) -> None:
    order = Order(replace(SPEC, shuffle=shuffle), CHUNK_ROWS)
    rows = [rows_of(order, lane, epoch) for epoch in range(3) for lane in range(SPEC.lanes)]
    assert hashlib.sha256(repr(rows).encode()).hexdigest()[:16] == GOLDEN[ALGORITHM, shuffle]


def test_without_shuffle_the_lanes_are_the_stored_rows_in_every_epoch() -> None:
    order = Order(replace(SPEC, shuffle=Shuffle.NONE), CHUNK_ROWS)
    for epoch in (0, 5):
        rows = [row for lane in range(SPEC.lanes) for row in rows_of(order, lane, epoch)]
        assert rows == list(range(int(CHUNK_ROWS.sum())))


def test_a_shuffle_of_chunks_keeps_the_rows_of_a_chunk_together() -> None:
    order = Order(replace(SPEC, shuffle=Shuffle.CHUNK), CHUNK_ROWS)
    rows = rows_of(order, 1, 0)
    jumps = sum(later != earlier + 1 for earlier, later in pairwise(rows))
    assert jumps == sum(len(window.fragments) for window in order.windows(1, 0)) - 1
    assert rows != sorted(rows)


def test_a_full_shuffle_is_one_window_of_the_lane() -> None:
    order = Order(replace(SPEC, shuffle=Shuffle.FULL), CHUNK_ROWS)
    assert [window.rows for window in order.windows(2, 0)] == [order.lane_rows(2)]


def test_a_window_has_as_many_chunks_as_asked() -> None:
    order = Order(replace(SPEC, lanes=1), CHUNK_ROWS)
    assert [len(window.fragments) for window in order.windows(0, 0)] == [2, 2, 2, 2, 2, 1]


@given(case=cases())
def test_a_lane_keeps_its_rows_in_every_epoch_and_permutes_them_anew(case: Case) -> None:
    first, second = (
        [sorted(MemoryLoader(replace(case, epoch=epoch)).lane_stream(lane).tolist()) for lane in range(case.spec.lanes)]
        for epoch in (0, 1)
    )
    assert [set(lane) for lane in first] == [set(lane) for lane in second]


@pytest.mark.parametrize("shuffle", [Shuffle.CHUNK, Shuffle.WINDOW, Shuffle.FULL])
def test_epochs_seeds_and_versions_have_different_orders(shuffle: Shuffle) -> None:
    spec = replace(SPEC, shuffle=shuffle, lanes=1)
    orders = [
        Order(each, CHUNK_ROWS) for each in (spec, replace(spec, seed=8), replace(spec, version="flights@13-77aa01"))
    ]
    assert len({tuple(rows_of(order, 0, epoch)) for order in orders for epoch in range(2)}) == 6


def test_window_and_shuffle_do_not_change_the_chunks_of_a_lane() -> None:
    def chunks(spec: OrderSpec) -> list[set[int]]:
        windows = [list(Order(spec, CHUNK_ROWS).windows(lane, 3)) for lane in range(spec.lanes)]
        return [{part.chunk for each in lane for part in each.fragments} for lane in windows]

    assert chunks(SPEC) == chunks(replace(SPEC, shuffle=Shuffle.FULL, window_chunks=1))


def test_a_lane_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError, match="lane 4 is not one of the 4 lanes"):
        Order(SPEC, CHUNK_ROWS).lane_rows(4)
