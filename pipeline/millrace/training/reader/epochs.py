"""The epochs of a read one after another in the slots, and the windows of a lane through all of them."""

from __future__ import annotations

from collections.abc import Iterator

from millrace.training.order import BatchPlan, Order, Tail
from millrace.training.reader.places import EpochPlaces, RingShape
from millrace.training.reader.window_load import WindowLoad


class Epochs:
    """The places of epoch after epoch, from a position on; each begins in the slot after the one before."""

    def __init__(
        self, order: Order, tail: Tail, global_batch_rows: int, ring: RingShape, *, epoch: int, row: int, slot: int
    ) -> None:
        self._lane_rows = order.rows_of_lanes
        self._tail = tail
        self._global_batch_rows = global_batch_rows
        self._ring = ring
        self._epochs = [EpochPlaces(epoch, self._plan(row), ring, slot)]

    def places(self, number: int) -> EpochPlaces:
        """Return the places of the epoch ``number`` epochs after the first."""
        while len(self._epochs) <= number:
            last = self._epochs[-1]
            self._epochs.append(EpochPlaces(last.epoch + 1, self._plan(0), self._ring, last.end_slot))
        return self._epochs[number]

    def _plan(self, row: int) -> BatchPlan:
        return BatchPlan(self._lane_rows, self._global_batch_rows, self._tail, row)


class LaneCursor:
    """The windows of a lane, epoch after epoch; ``load`` is the next one."""

    def __init__(self, lane: int, order: Order, epochs: Epochs) -> None:
        self._loads = _loads(lane, order, epochs)
        self.load = next(self._loads)

    def take(self) -> WindowLoad:
        """Return the next window, and go on to the one after it."""
        load, self.load = self.load, next(self._loads)
        return load


def _loads(lane: int, order: Order, epochs: Epochs) -> Iterator[WindowLoad]:
    number = 0
    while True:
        places = epochs.places(number)
        number += 1
        if not places.plan.batches:
            continue
        for window in order.windows(lane, places.epoch, from_row=places.plan.from_row):
            if span := places.span(window):
                yield WindowLoad(window, places, span)
