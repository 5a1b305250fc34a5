"""Batches of an epoch: counts, tails, and progress over epochs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import UsageError
from millrace.training.order import BatchPlan, Tail, progress_after

LANES = (10, 11, 10, 11)


@pytest.mark.parametrize(
    ("tail", "batches", "dropped", "padded", "last"),
    [
        (Tail.DROP_LAST, 3, 6, 0, [(6, 9), (6, 9)]),
        (Tail.PAD, 4, 0, 6, [(9, 12), (9, 12)]),
        (Tail.UNEVEN, 4, 0, 0, [(9, 10), (9, 11)]),
    ],
)
def test_each_tail_ends_an_epoch_in_its_way(
    tail: Tail, batches: int, dropped: int, padded: int, last: list[tuple[int, int]]
) -> None:
    plan = BatchPlan(LANES, 12, tail)
    assert (plan.batches, plan.dropped_rows, plan.padded_rows) == (batches, dropped, padded)
    assert [plan.lane_slice(batches - 1, lane) for lane in (0, 1)] == last


def test_the_last_uneven_batch_takes_one_more_row_of_a_longer_lane() -> None:
    plan = BatchPlan(LANES, 20, Tail.UNEVEN)
    assert plan.batches == 2
    assert [plan.lane_slice(1, lane) for lane in range(4)] == [(5, 10), (5, 11), (5, 10), (5, 11)]


def test_fewer_rows_than_lanes_are_one_uneven_batch() -> None:
    plan = BatchPlan((0, 1, 0, 1), 8, Tail.UNEVEN)
    assert [plan.lane_slice(0, lane) for lane in range(4)] == [(0, 0), (0, 1), (0, 0), (0, 1)]


def test_batches_begin_at_the_row_that_every_lane_has_reached() -> None:
    plan = BatchPlan(LANES, 8, Tail.DROP_LAST, from_row=5)
    assert plan.batches == 2
    assert [plan.lane_slice(batch, 0) for batch in range(2)] == [(5, 7), (7, 9)]
    assert plan.dropped_rows == 6


def test_a_larger_batch_may_find_no_full_batch_left_in_a_resumed_epoch() -> None:
    plan = BatchPlan(LANES, 40, Tail.DROP_LAST, from_row=6)
    assert (plan.batches, plan.dropped_rows) == (0, 18)


@pytest.mark.parametrize("batch", [-1, 3])
def test_a_batch_outside_the_epoch_has_no_rows(batch: int) -> None:
    with pytest.raises(IndexError, match=f"batch {batch} of 3"):
        BatchPlan(LANES, 12, Tail.DROP_LAST).lane_slice(batch, 0)


def test_a_split_without_one_full_batch_is_refused_with_both_numbers() -> None:
    with pytest.raises(
        UsageError, match="42 rows do not have one full batch of 44 rows: use global_batch_rows of at most 40"
    ):
        BatchPlan(LANES, 44, Tail.DROP_LAST)


def test_a_lane_without_rows_cannot_be_padded() -> None:
    with pytest.raises(UsageError, match="2 rows cannot fill 4 lanes: use at most 2 lanes"):
        BatchPlan((0, 1, 0, 1), 4, Tail.PAD)


@pytest.mark.parametrize("tail", Tail)
def test_a_split_without_rows_is_refused(tail: Tail) -> None:
    with pytest.raises(UsageError, match="0 rows cannot fill 2 lanes: use a split with rows"):
        BatchPlan((0, 0), 4, tail)


@pytest.mark.parametrize("row", [-1, 12])
def test_a_state_beyond_the_rows_is_refused(row: int) -> None:
    with pytest.raises(UsageError, match=f"a state with {row} rows handed out does not fit lanes of 11 rows"):
        BatchPlan(LANES, 4, Tail.PAD, from_row=row)


@given(
    tail=st.sampled_from(Tail),
    lane_batch_rows=st.integers(1, 10),
    from_row=st.integers(0, 10),
    batches=st.integers(0, 60),
)
def test_progress_after_batches_is_that_of_counting_them(
    tail: Tail, lane_batch_rows: int, from_row: int, batches: int
) -> None:
    plan = BatchPlan(LANES, 4 * lane_batch_rows, tail, from_row)
    epoch, current, batch = 0, plan, 0
    for _ in range(batches + 1):
        if batch == current.batches:
            epoch, current, batch = epoch + 1, replace(plan, from_row=0), 0
        position = (epoch, current.from_row + batch * lane_batch_rows)
        batch += 1
    assert progress_after(plan, batches) == position
