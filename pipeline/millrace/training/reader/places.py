"""Places of an epoch's rows in a ring of batch slots, so that each row is written once and a batch is one slice.

Slots are counted on over epochs; slot ``s`` is at row ``(s % slots) * slot_rows`` of the ring. The row behind the last
slot is a place for rows that no batch delivers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from millrace.training.order import BatchPlan, Tail, Window

Index = NDArray[np.int64]


@dataclass(frozen=True)
class RingShape:
    """The slots of a ring, and the rows of each: those of the rank's lanes, and under ``UNEVEN`` one more of each."""

    slots: int
    lanes: range
    lane_batch_rows: int
    tail: Tail

    @cached_property
    def slot_rows(self) -> int:
        """The rows of a slot."""
        return len(self.lanes) * (self.lane_batch_rows + (self.tail is Tail.UNEVEN))

    @property
    def rows(self) -> int:
        """The rows of the ring, with the one for rows that no batch delivers."""
        return self.slots * self.slot_rows + 1

    def first_row(self, slot: int) -> int:
        """Return the row of the ring at which a slot begins."""
        return slot % self.slots * self.slot_rows


@dataclass(frozen=True)
class EpochPlaces:
    """The batches of one epoch in the ring; batch 0 is in ``first_slot``."""

    epoch: int
    plan: BatchPlan
    ring: RingShape
    first_slot: int

    @cached_property
    def end_slot(self) -> int:
        """The slot after the last batch, where the next epoch begins."""
        return self.first_slot + self.plan.batches

    def batch_rows(self, slot: int) -> int:
        """Return the rows that the rank's lanes give to the batch of a slot."""
        return self._full_rows if slot < self.end_slot - 1 else self._last_rows

    def end_row(self, window: Window) -> int:
        """Return the position after the last one of a window; the last window of a lane repeats for padded rows."""
        end = window.first_row + window.rows
        return max(end, self._stops[window.lane]) if end == self.plan.lane_rows[window.lane] else end

    def span(self, window: Window) -> tuple[int, int] | None:
        """Return the first and the last slot of a window's rows, or None if no batch delivers any of them."""
        if not self.plan.batches:
            return None
        first = max(window.first_row, self.plan.from_row)
        stop = min(self.end_row(window), self._stops[window.lane])
        if first >= stop:
            return None
        return self._slot(first), self._slot(stop - 1)

    def indices(self, window: Window, positions: Index) -> list[Index]:
        """Return the row of the ring for each source row of a window.

        ``positions`` are those of ``Order.positions``. Under ``PAD`` the last window of a lane may have several places
        for a row; each further array has the next place of every row.
        """
        starts = range(window.first_row, self.end_row(window), window.rows)
        return [self._index(window, positions, start) for start in starts]

    def slot_of(self, ring_rows: Index, window: Window) -> int | None:
        """Return the first slot in which a row of an index lies, or None if no batch delivers one of its rows."""
        span = self.span(window)
        delivered = ring_rows[ring_rows < self.ring.rows - 1]
        if span is None or not len(delivered):
            return None
        first, _ = span
        return first + int(((delivered // self.ring.slot_rows - first) % self.ring.slots).min())

    def _index(self, window: Window, positions: Index, start: int) -> Index:
        """Return the rows of the ring for positions that count from row ``start`` of the lane."""
        ring, plan, lane_batch_rows = self.ring, self.plan, self.plan.lane_batch_rows
        first_batch = min(max(0, window.first_row - plan.from_row) // lane_batch_rows, plan.batches - 1)
        rows = positions + (start - plan.from_row - first_batch * lane_batch_rows)
        undelivered = self._undelivered(window, rows, start, first_batch)
        batches = rows // lane_batch_rows
        if plan.tail is Tail.UNEVEN:
            self._enter_last_batch(window.lane, rows, batches, plan.batches - 1 - first_batch)
        batches *= ring.slot_rows - lane_batch_rows
        rows += batches
        rows += ring.first_row(self.first_slot + first_batch) + self._offset(window.lane)
        end = ring.rows - 1
        np.subtract(rows, end, out=rows, where=rows >= end)
        if undelivered is not None:
            rows[undelivered] = end
        return rows

    def _undelivered(self, window: Window, rows: Index, start: int, first_batch: int) -> NDArray[np.bool_] | None:
        """Return which rows no batch delivers, or None if every row is delivered; rows count from ``first_batch``."""
        stop = self._stops[window.lane]
        if start >= self.plan.from_row and start + window.rows <= stop:
            return None
        begin = self.plan.from_row + first_batch * self.plan.lane_batch_rows
        return (rows < self.plan.from_row - begin) | (rows >= stop - begin)

    def _enter_last_batch(self, lane: int, rows: Index, batches: Index, last: int) -> None:
        """Place rows of the last batch, of which lanes may have different numbers, one lane after another."""
        np.minimum(batches, last, out=batches)
        moved = self._last_offsets[lane] - self._offset(lane)
        if moved:
            rows[batches == last] += moved

    def _offset(self, lane: int) -> int:
        return (lane - self.ring.lanes.start) * self.plan.lane_batch_rows

    def _slot(self, row: int) -> int:
        batch = (row - self.plan.from_row) // self.plan.lane_batch_rows
        return self.first_slot + min(batch, self.plan.batches - 1)

    @cached_property
    def _stops(self) -> dict[int, int]:
        """The position after the last delivered one of each lane of the rank."""
        return {lane: self.plan.lane_slice(self.plan.batches - 1, lane)[1] for lane in self.ring.lanes}

    @cached_property
    def _last_slices(self) -> list[int]:
        slices = [self.plan.lane_slice(self.plan.batches - 1, lane) for lane in self.ring.lanes]
        return [stop - first for first, stop in slices]

    @cached_property
    def _full_rows(self) -> int:
        return len(self.ring.lanes) * self.plan.lane_batch_rows

    @cached_property
    def _last_rows(self) -> int:
        return sum(self._last_slices)

    @cached_property
    def _last_offsets(self) -> dict[int, int]:
        offsets = np.cumsum([0, *self._last_slices[:-1]]).tolist()
        return dict(zip(self.ring.lanes, offsets, strict=True))
