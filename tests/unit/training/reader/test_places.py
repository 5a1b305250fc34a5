"""Every row of an epoch has its place in the ring, in every tail, wherever windows and batches begin."""

from __future__ import annotations

from itertools import chain

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace.training.order import BatchPlan, Fragment, Tail, Window
from millrace.training.reader.places import EpochPlaces, RingShape

LANES = 4


@st.composite
def epochs(draw: st.DrawFn) -> tuple[BatchPlan, list[list[int]], int]:
    """A plan, the rows of the windows of each lane, and the slot of the first batch."""
    rows = draw(st.integers(1, 40))
    longer = draw(st.lists(st.booleans(), min_size=LANES, max_size=LANES))
    lane_rows = tuple(rows + extra for extra in longer)
    tail = draw(st.sampled_from(Tail))
    lane_batch_rows = draw(st.integers(1, rows))
    from_row = draw(st.integers(0, rows))
    plan = BatchPlan(lane_rows, LANES * lane_batch_rows, tail, from_row)
    assume(plan.batches)
    windows = []
    for length in lane_rows:
        cuts = sorted(draw(st.sets(st.integers(1, length), max_size=4)) | {length})
        windows.append([end - start for start, end in zip([0, *cuts], cuts, strict=False)])
    return plan, windows, draw(st.integers(0, 30))


def lane_windows(lane: int, rows: list[int]) -> list[Window]:
    starts = np.cumsum([0, *rows]).tolist()
    return [
        Window(0, lane, index, start, count, (Fragment(0, 0, count),))
        for index, (start, count) in enumerate(zip(starts, rows, strict=False))
    ]


@given(epoch=epochs(), spare=st.integers(0, 3), half=st.sampled_from([range(4), range(2), range(2, 4)]))
def test_the_rows_of_each_batch_are_one_slice_of_the_ring(
    epoch: tuple[BatchPlan, list[list[int]], int], spare: int, half: range
) -> None:
    plan, window_rows, first_slot = epoch
    ring = RingShape(plan.batches + spare, half, plan.lane_batch_rows, plan.tail)
    places = EpochPlaces(0, plan, ring, first_slot)
    rows = np.full(ring.rows, -1)
    windows = {lane: lane_windows(lane, window_rows[lane]) for lane in half}
    for lane in half:
        for window in windows[lane]:
            if window.first_row + window.rows <= min(plan.from_row, plan.lane_rows[lane] - 1):
                continue  # the order begins with the window of the position
            positions = np.random.default_rng(lane).permutation(window.rows)
            check_window(places, window, positions, rows)
    rows[-1] = -1
    for batch in range(plan.batches):
        slot = first_slot + batch
        begin = slot % ring.slots * ring.slot_rows
        actual = rows[begin : begin + places.batch_rows(slot)].tolist()
        assert actual == expected_rows(plan, windows, batch, half)


def check_window(places: EpochPlaces, window: Window, positions: np.ndarray, rows: np.ndarray) -> None:
    """Write a window to its places, and check the slots that it is said to span."""
    span = places.span(window)
    if span is None:
        return
    used = set()
    for index in places.indices(window, positions):
        rows[index] = 1000 * window.lane + window.first_row + positions
        used |= set((index[index < places.ring.rows - 1] // places.ring.slot_rows).tolist())
        first = places.slot_of(index, window)
        assert first is None or span[0] <= first <= span[1]
    assert used <= {slot % places.ring.slots for slot in range(span[0], span[1] + 1)}
    assert {span[0] % places.ring.slots, span[1] % places.ring.slots} <= used


def expected_rows(plan: BatchPlan, windows: dict[int, list[Window]], batch: int, lanes: range) -> list[int]:
    """Return lane and row of each row of a batch; padded rows repeat those of the lane's last window."""

    def row(lane: int, position: int) -> int:
        last = windows[lane][-1]
        if position >= plan.lane_rows[lane]:
            position = last.first_row + (position - last.first_row) % last.rows
        return 1000 * lane + position

    return list(chain.from_iterable([row(lane, p) for p in range(*plan.lane_slice(batch, lane))] for lane in lanes))


def test_the_first_slot_of_a_fragment_is_the_batch_that_needs_it() -> None:
    plan = BatchPlan((32,), 4, Tail.DROP_LAST)
    places = EpochPlaces(0, plan, RingShape(10, range(1), 4, Tail.DROP_LAST), 7)
    (window,) = lane_windows(0, [32])
    (index,) = places.indices(window, np.arange(32))
    assert [places.slot_of(index[first:], window) for first in (0, 5, 13, 31)] == [7, 8, 10, 14]
    assert places.slot_of(np.array([40]), window) is None
